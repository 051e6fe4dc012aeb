import ipaddress
import json
import socket
import subprocess
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from runtime.errors import BadRequestError, ConflictError, ForbiddenError
from runtime.linux import netns
from runtime.network.model import EndpointSettings, Subnet
from runtime.network.ports import PortBinding
from tests.support.networks import address, cleaned, container, greet, join, listener, serving

pytestmark = [pytest.mark.root, pytest.mark.anyio]


async def off(action, *arguments, **named):
    return await anyio.to_thread.run_sync(partial(action, *arguments, **named))


def ip(networks, id, *arguments):
    """What `ip` says inside container `id`."""
    command = ["ip", "-j", *arguments]
    run = partial(subprocess.run, command, capture_output=True, text=True, check=True)
    return json.loads(netns.inside(networks.namespace(id), run).stdout or "[]")


def gateway(networks, id, family="-4"):
    routes = ip(networks, id, family, "route", "show", "default")
    return [route["gateway"] for route in routes]


async def reaches(networks, source, target):
    try:
        await off(greet, networks, source, target, timeout_s=0.4)
    except OSError:
        return False
    return True


async def test_containers_on_a_network_with_ipv6_have_addresses_routes_and_reach_each_other(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front", subnets=[Subnet("fd00:77::/64", "")], enable_ipv6=True)
        one, two = await container(networks, "one", front), await container(networks, "two", front)
        mine, its = (networks.endpoints(id)[0].ipv6.partition("/")[0] for id in (one, two))
        assert {ipaddress.ip_address(text) in ipaddress.ip_network("fd00:77::/64") for text in (mine, its)} == {True}
        assert gateway(networks, one, "-6") == ["fd00:77::1"]
        with serving(listener(networks, two, host="::"), b"two"):
            assert await reaches(networks, one, its)
            assert await reaches(networks, None, its)


async def test_networks_are_apart_over_ipv6_too(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front", enable_ipv6=True))
        two = await container(networks, "two", await networks.create(name="back", enable_ipv6=True))
        with serving(listener(networks, two, host="::"), b"two"):
            its = networks.endpoints(two)[0].ipv6.partition("/")[0]
            assert await reaches(networks, None, its)
            assert not await reaches(networks, one, its)
            assert not await reaches(networks, one, address(networks, two))


@pytest.mark.parametrize("internal", [False, True])
@pytest.mark.parametrize("host", ["198.51.100.2", "2001:db8:77::2"])
async def test_the_way_out_goes_by_the_hosts_address_and_not_from_an_internal_network(paths, elsewhere, internal, host):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front", enable_ipv6=True, internal=internal))
        bind = partial(socket.create_server, (host, 80), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        callers = []
        with serving(netns.inside(elsewhere, bind), b"outside", callers):
            assert await reaches(networks, one, host) != internal
        assert callers == ([] if internal else [host.replace("100.2", "100.1").replace("::2", "::1")])


async def test_an_outsider_reaches_published_ports_only(paths, elsewhere):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
        with serving(listener(networks, one), b"one"):

            def call(host, port):
                with netns.inside(elsewhere, socket.socket) as made:
                    made.settimeout(0.4)
                    made.connect((host, port))
                    return made.recv(100)

            assert await off(call, "198.51.100.1", bound.host_port) == b"one"
            with pytest.raises(TimeoutError):
                await off(call, address(networks, one), 80)


async def test_containers_of_an_internal_network_reach_each_other(paths):
    async with cleaned(paths) as networks:
        inner = await networks.create(name="inner", internal=True)
        one, two = await container(networks, "one", inner), await container(networks, "two", inner)
        with serving(listener(networks, two), b"two"):
            assert await reaches(networks, one, address(networks, two))


async def test_what_an_attachment_asks_for_it_gets(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(
            name="front", subnets=[Subnet("10.213.0.0/24", ""), Subnet("fd00:213::/64", "")], enable_ipv6=True
        )
        one = await container(networks, "one")
        settings = EndpointSettings(
            aliases=("web",),
            ipv4_address="10.213.0.77",
            ipv6_address="fd00:213::77",
            mac_address="02:42:00:00:00:77",
            link_local_ips=("169.254.7.7", "fe80::7"),
            driver_opts={
                "com.docker.network.endpoint.ifname": "lan7",
                "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1",
            },
        )
        await networks.connect(one, "one", front, settings)
        [device] = ip(networks, one, "address", "show", "dev", "lan7")
        assert device["address"] == "02:42:00:00:00:77"
        assert {"10.213.0.77", "fd00:213::77", "169.254.7.7", "fe80::7"} <= {a["local"] for a in device["addr_info"]}
        read = netns.inside(networks.namespace(one), Path("/proc/sys/net/ipv4/conf/lan7/log_martians").read_text)
        assert read.strip() == "1"
        two = await container(networks, "two")
        for refused, error in (
            (EndpointSettings(ipv4_address="10.213.0.77"), ForbiddenError),
            (EndpointSettings(ipv4_address="10.214.0.1"), BadRequestError),
            (EndpointSettings(mac_address="zz"), BadRequestError),
            (EndpointSettings(link_local_ips=("10.0.0.1",)), BadRequestError),
        ):
            with pytest.raises(error):
                await networks.connect(two, "two", front, refused)
        assert networks.endpoints(two) == []


async def test_several_subnets_are_used_one_after_the_other(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front", subnets=[Subnet("10.213.0.0/30", ""), Subnet("10.213.1.0/24", "")])
        one, two = await container(networks, "one", front), await container(networks, "two", front)
        assert [address(networks, id) for id in (one, two)] == ["10.213.0.2", "10.213.1.2"]
        assert gateway(networks, two) == ["10.213.1.1"]
        with serving(listener(networks, two), b"two"):
            assert await reaches(networks, one, address(networks, two))


async def test_a_full_subnet_is_reported_and_nothing_is_left_of_the_attempt(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front", subnets=[Subnet("10.213.0.0/30", "")])
        await container(networks, "one", front)
        two = await container(networks, "two")
        with pytest.raises(ConflictError, match=r"no available IPv4 addresses on .*: front"):
            await networks.connect(two, "two", front, EndpointSettings())
        assert ip(networks, two, "link", "show", "type", "veth") == []


async def test_the_way_out_is_over_the_network_of_the_highest_priority(paths):
    async with cleaned(paths) as networks:
        made = [await networks.create(name=name) for name in ("a", "b", "c")]
        one = await container(networks, "one", made[0])
        assert gateway(networks, one) == [made[0].ipv4.gateway]
        await networks.connect(one, "one", made[1], EndpointSettings(gw_priority=5))
        assert gateway(networks, one) == [made[1].ipv4.gateway]
        await networks.connect(one, "one", made[2], EndpointSettings(gw_priority=1))
        assert gateway(networks, one) == [made[1].ipv4.gateway]
        await networks.disconnect(one, made[1])
        assert gateway(networks, one) == [made[2].ipv4.gateway]


async def test_ipv6_leaves_by_the_network_that_has_it(paths):
    async with cleaned(paths) as networks:
        # of equal priorities the first name counts
        plain, modern = await networks.create(name="a"), await networks.create(name="b", enable_ipv6=True)
        one = await container(networks, "one", plain, modern)
        assert gateway(networks, one) == [plain.ipv4.gateway]
        assert gateway(networks, one, "-6") == [modern.ipv6.gateway]


async def test_options_of_a_network_hold(paths):
    async with cleaned(paths) as networks:
        options = {
            "com.docker.network.bridge.name": "skftest0",
            "com.docker.network.driver.mtu": "1400",
            "com.docker.network.container_iface_prefix": "lan",
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
        }
        front = await networks.create(name="front", options=options)
        one, two = await container(networks, "one", front), await container(networks, "two", front)
        [device] = ip(networks, one, "link", "show", "dev", "lan0")
        assert device["mtu"] == 1400
        assert "skftest0" in {name for _, name in socket.if_nameindex()}
        [bound] = await networks.publish(two, [PortBinding(80, "tcp", "", 0)])
        assert bound.host_ip == "127.0.0.1"
        with serving(listener(networks, two), b"two"):
            assert await reaches(networks, None, address(networks, two))
            assert not await reaches(networks, one, address(networks, two))
        with pytest.raises(ConflictError, match="skftest0 already exists"):
            await networks.create(name="other", options=options)
        with pytest.raises(BadRequestError, match="mtu"):
            await networks.create(name="other", options={"com.docker.network.driver.mtu": "x"})


async def test_a_network_that_does_not_masquerade_shows_its_own_addresses(paths, elsewhere):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front", options={"com.docker.network.bridge.enable_ip_masquerade": "false"})
        one = await container(networks, "one", front)
        callers = []
        with serving(netns.inside(elsewhere, partial(socket.create_server, ("198.51.100.2", 80))), b"", callers):
            await reaches(networks, one, "198.51.100.2")
        assert callers == [address(networks, one)]


async def test_a_running_container_joins_and_leaves_and_names_follow(paths):
    async with cleaned(paths) as networks:
        front, back = await networks.create(name="front"), await networks.create(name="back")
        one, two = await container(networks, "one", front), await container(networks, "two", back)
        with serving(listener(networks, two), b"two"):
            assert not await reaches(networks, one, address(networks, two))
            await join(networks, one, back)
            assert await reaches(networks, one, address(networks, two))
            await networks.disconnect(one, back)
            assert not await reaches(networks, one, address(networks, two))
