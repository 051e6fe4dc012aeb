"""Docker's gateway modes, and networks of IPv6 alone: who reaches which of them, from this machine, another one and inside."""

import ipaddress
import socket
from functools import partial

import anyio.to_thread
import pytest

from runtime.errors import BadRequestError, InternalError
from runtime.linux import netns
from runtime.network.ports import PortBinding
from tests.support.networks import cleaned, container, greet, listener, serving

pytestmark = [pytest.mark.root, pytest.mark.anyio]

MODE = "com.docker.network.bridge.gateway_mode_ipv"
OUTSIDE = {4: "198.51.100.2", 6: "2001:db8:77::2"}


def reached_from(namespace, host, port, timeout_s):
    """Whether another machine has an answer of `host`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with netns.inside(namespace, partial(socket.socket, family)) as made:
        made.settimeout(timeout_s)
        try:
            made.connect((host, port))
            return bool(made.recv(100))
        except OSError:
            return False


def outgoing_address(networks, id, target, server):
    """Return the address that `server` of another machine sees when container `id` calls `target`."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with netns.inside(networks.namespace(id), partial(socket.socket, family)) as made:
        made.settimeout(4)
        made.connect((target, 80))
        connection, caller = server.accept()
        connection.close()
    return caller[0]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mode", ["nat", "nat-unprotected", "routed"])
async def test_another_machine_reaches_what_the_mode_opens(paths, elsewhere, mode, version):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front", enable_ipv6=True, options={f"{MODE}{version}": mode})
        one = await container(networks, "one", front)
        rows = await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
        (endpoint,) = networks.endpoints(one)
        own = (endpoint.ipv4 if version == 4 else endpoint.ipv6).partition("/")[0]
        with serving(listener(networks, one, host="::"), b"80"), serving(listener(networks, one, "::", 81), b"81"):
            for port, is_open in ((80, mode != "nat"), (81, mode == "nat-unprotected")):
                timeout_s = 5 if is_open else 0.3
                assert await anyio.to_thread.run_sync(reached_from, elsewhere, own, port, timeout_s) == is_open
        assert (f"{'0.0.0.0' if version == 4 else '::'}", 0) in {(row.host_ip, row.host_port) for row in rows} or (
            mode != "routed"
        )
        server = partial(
            socket.create_server, (OUTSIDE[version], 80), family=socket.AF_INET6 if version == 6 else socket.AF_INET
        )
        with netns.inside(elsewhere, server) as outside:
            outside.settimeout(4)
            seen = await anyio.to_thread.run_sync(outgoing_address, networks, one, OUTSIDE[version], outside)
        assert (seen == own) == (mode == "routed")


async def test_an_isolated_network_has_no_address_of_the_host(paths):
    async with cleaned(paths) as networks:
        with pytest.raises(InternalError, match="can only be used for an internal network"):
            await networks.create(name="front", options={f"{MODE}4": "isolated"})
        with pytest.raises(BadRequestError, match=r"unknown gateway mode zz"):
            await networks.create(name="front", options={f"{MODE}4": "zz"})
        front = await networks.create(name="front", internal=True, options={f"{MODE}4": "isolated"})
        one, two = await container(networks, "one", front), await container(networks, "two", front)
        first = networks.endpoints(one)[0].ipv4
        assert front.ipv4.gateway == ""
        assert ipaddress.ip_interface(first).ip == front.ipv4.range[1]
        with serving(listener(networks, one), b"one"):
            assert await anyio.to_thread.run_sync(greet, networks, two, first.partition("/")[0]) == b"one"
            with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
                await anyio.to_thread.run_sync(partial(greet, networks, None, first.partition("/")[0], timeout_s=0.4))


async def test_a_network_of_ipv6_alone_has_no_ipv4(paths):
    async with cleaned(paths) as networks:
        with pytest.raises(BadRequestError, match="IPv4 or IPv6 must be enabled"):
            await networks.create(name="front", enable_ipv4=False)
        front = await networks.create(name="front", enable_ipv4=False, enable_ipv6=True)
        one, two = await container(networks, "one", front), await container(networks, "two", front)
        mine, its = networks.endpoints(one)[0], networks.endpoints(two)[0]
        assert (mine.ipv4, its.ipv4, mine.mac_address == its.mac_address) == ("", "", False)
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
        with serving(listener(networks, one, host="::"), b"one"):
            assert await anyio.to_thread.run_sync(greet, networks, two, mine.ipv6.partition("/")[0]) == b"one"
            assert await anyio.to_thread.run_sync(greet, networks, None, "::1", bound.host_port) == b"one"
        assert {row.host_ip for row in networks.published(one)} == {"::"}
