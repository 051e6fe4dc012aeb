import os
import secrets
import socket
import subprocess
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from runtime.errors import ConflictError, ForbiddenError, KernelError
from runtime.linux import netns
from runtime.network.model import EndpointSettings, Subnet
from runtime.network.ports import PortBinding
from tests.support.networks import address, ask, cleaned, container, greet, listener, opened, serving

pytestmark = [pytest.mark.root, pytest.mark.anyio, pytest.mark.usefixtures("own_network")]


def running_in(namespace):
    """Start a process in a pinned network namespace; returned once it is there."""
    command = ["nsenter", f"--net={namespace}", "sh", "-c", "echo in; exec sleep 1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"in\n"
    return process


async def test_neighbours_reach_each_other_and_the_names_are_known(paths):
    async with cleaned(paths) as networks:
        network = await networks.create(name="front")
        one, two = await container(networks, "one", network), await container(networks, "two", network)
        with serving(listener(networks, two), b"two"):
            assert await anyio.to_thread.run_sync(greet, networks, one, address(networks, two)) == b"two"
        for name in ("two", "TWO-alias", two[:12], "two.front"):
            assert await anyio.to_thread.run_sync(ask, networks, one, name) == ({address(networks, two)}, 0)


async def test_a_container_may_listen_on_port_53_itself(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        listener(networks, one, port=53).close()
        assert (await anyio.to_thread.run_sync(ask, networks, one, "one"))[1] == 0


@pytest.mark.parametrize("host_ip", ["", "127.0.0.1"])
async def test_a_published_port_is_reached_from_loopback(paths, host_ip):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", host_ip, 0)])
        with serving(listener(networks, one), b"one"):
            assert await anyio.to_thread.run_sync(greet, networks, None, "127.0.0.1", bound.host_port) == b"one"
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", bound.host_port))
        with pytest.raises(ConflictError, match="container one"):
            networks.check_ports([bound])
        await networks.unpublish(one)
        networks.check_ports([bound])


async def test_a_port_of_another_program_is_refused_with_its_name(paths):
    async with cleaned(paths) as networks:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(ConflictError, match=r"process \d+ \("):
                networks.check_ports([PortBinding(80, "tcp", "127.0.0.1", port)])


async def test_networks_are_apart(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        two = await container(networks, "two", await networks.create(name="back"))
        with serving(listener(networks, two), b"two"), pytest.raises(TimeoutError):
            await anyio.to_thread.run_sync(partial(greet, networks, one, address(networks, two), timeout_s=0.5))


def default_route(networks, id):
    return netns.inside(
        networks.namespace(id),
        partial(subprocess.run, ["ip", "-4", "route", "show", "default"], capture_output=True, text=True),
    ).stdout


async def test_an_internal_network_has_no_way_out_and_another_one_has(paths):
    async with cleaned(paths) as networks:
        inner, outer = await networks.create(name="inner", internal=True), await networks.create(name="outer")
        one = await container(networks, "one", inner)
        assert default_route(networks, one) == ""
        await networks.connect(one, "one", outer, EndpointSettings())
        assert outer.ipv4.gateway in default_route(networks, one)


async def test_a_port_of_a_container_on_an_internal_and_an_open_network_is_published(paths):
    async with cleaned(paths) as networks:
        inner, outer = await networks.create(name="inner", internal=True), await networks.create(name="outer")
        one = await container(networks, "one", inner, outer)
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
        with serving(listener(networks, one), b"one"):
            assert await anyio.to_thread.run_sync(greet, networks, None, "127.0.0.1", bound.host_port) == b"one"


async def test_networks_are_left_and_joined_again_in_any_order(paths):
    async with cleaned(paths) as networks:
        front, back = await networks.create(name="front"), await networks.create(name="back")
        one = await container(networks, "one", front, back)
        await networks.disconnect(one, front)
        assert back.ipv4.gateway in default_route(networks, one)
        await networks.connect(one, "one", front, EndpointSettings())
        assert {e.device for e in networks.endpoints(one)} == {"eth0", "eth1"}


async def test_a_network_in_use_is_not_removed(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        await container(networks, "one", front)
        with pytest.raises(ForbiddenError, match="one"):
            await networks.remove(front)


async def test_a_killed_engine_is_followed_by_one_that_knows_all(paths):
    async with opened(paths) as networks:
        network = await networks.create(name="front")
        one, two = await container(networks, "one", network), await container(networks, "two", network)
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "127.0.0.1", 0)])
        ours, stale = address(networks, one), two
        listening = listener(networks, one)
    async with cleaned(paths, {one: "one"}) as networks:
        assert address(networks, one) == ours
        assert not networks.namespace(stale).exists()
        with serving(listening, b"one"):
            assert await anyio.to_thread.run_sync(ask, networks, one, "one") == ({ours}, 0)
            assert await networks.publish(one, [bound]) == [bound]
            assert await anyio.to_thread.run_sync(greet, networks, None, "127.0.0.1", bound.host_port) == b"one"


def left_of(paths):
    """Return what the kernel still holds of an engine."""
    listing = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    found = [line for line in listing.splitlines() if paths.engine_id in line]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(paths.netns) in line]
    found += [str(path) for path in paths.netns.glob("*")]
    return found


async def test_nothing_is_left_behind(paths):
    before = set(socket.if_nameindex())
    async with cleaned(paths) as networks:
        bridge = networks.resolve("bridge")
        await container(networks, "one", bridge, await networks.create(name="front", enable_ipv6=True))
    assert await anyio.to_thread.run_sync(left_of, paths) == []
    assert not {name for _, name in set(socket.if_nameindex()) - before if paths.engine_id in name}


async def test_a_table_without_networks_goes_at_the_next_start(paths):
    async with cleaned(paths) as networks:
        await anyio.to_thread.run_sync(networks._firewall.create)
    assert await anyio.to_thread.run_sync(left_of, paths) != []
    async with cleaned(paths):
        assert await anyio.to_thread.run_sync(left_of, paths) == []


async def test_attachments_keep_their_order_in_the_next_engine(paths):
    async with opened(paths) as networks:
        joined = [await networks.create(name=f"n{number}") for number in range(4)]
        one = await container(networks, "one", *joined)
    async with cleaned(paths, {one: "one"}) as networks:
        assert [e.network_id for e in networks.endpoints(one)] == [network.id for network in joined]


async def test_many_containers_leave_together_and_the_network_goes_after_them(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        made = [await container(networks, f"c{number}", front) for number in range(5)]
        devices = [endpoint.host_device for endpoint in networks.attached(front)]
        for id in made:
            await networks.close_namespace(id)
        await networks.remove(front)
        assert not {*devices, front.bridge} & {name for _, name in socket.if_nameindex()}


async def test_an_address_is_given_again_at_once_and_its_last_holder_is_cut_off(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        one, two = await container(networks, "one", front), await container(networks, "two", front)
        was = address(networks, one)
        held = os.open(networks.namespace(one), os.O_RDONLY)  # a process of the last holder lives on
        try:
            await networks.close_namespace(one)
            three = await container(networks, "three", front)
            assert address(networks, three) == was
            with serving(listener(networks, three), b"three"):
                for _ in range(3):
                    assert await anyio.to_thread.run_sync(greet, networks, two, was) == b"three"
        finally:
            os.close(held)


async def test_names_are_served_once_a_container_joins_a_network_that_has_them(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", networks.resolve("bridge"))
        front = await networks.create(name="front")
        two = await container(networks, "two", front)
        await networks.connect(one, "one", front, EndpointSettings())
        assert await anyio.to_thread.run_sync(ask, networks, one, "two") == ({address(networks, two)}, 0)


async def test_a_bridge_that_a_killed_engine_could_not_write_down_goes_at_the_next_start(paths):
    async with opened(paths) as networks:
        network = await networks.create(name="front")
        networks._table.drop(network)
    assert network.bridge in {name for _, name in socket.if_nameindex()}
    async with cleaned(paths):
        assert network.bridge not in {name for _, name in socket.if_nameindex()}


async def test_namespaces_whose_mounts_are_gone_are_had_back_from_the_processes_in_them(paths):
    async with opened(paths) as networks:
        front = await networks.create(name="front")
        one, two = await container(networks, "one", front), await container(networks, "two", front)
        pins = [networks.namespace(id) for id in (one, two)]
        was = address(networks, one)
        process = running_in(pins[0])
    try:
        for pin in pins:
            await anyio.run_process(["umount", str(pin)])
        async with cleaned(paths, {one: "one", two: "two"}, {one: process.pid}) as networks:
            three = await container(networks, "three", networks.resolve("front"))
            with serving(listener(networks, one), b"one"):
                assert await anyio.to_thread.run_sync(greet, networks, three, was) == b"one"
            assert not networks.namespace(two).exists()
            await networks.close_namespace(two)
            assert {endpoint.container_id for endpoint in networks.attached(front)} == {one, three}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_a_setting_that_the_kernel_refuses_is_reported_by_name(paths):
    async with cleaned(paths) as networks:
        with pytest.raises(KernelError, match=r"net\.ipv4\.no_such_thing"):
            await networks.open_namespace(secrets.token_hex(32), "one", {"net.ipv4.no_such_thing": "1"})
        assert list(paths.netns.glob("*")) == []


async def test_networks_go_together_and_may_be_made_again_at_once(paths):
    async with cleaned(paths) as networks:
        wanted = [Subnet(f"10.21{number}.0.0/24", "") for number in range(4)]
        for _ in range(2):
            made = [await networks.create(name=f"n{at}", subnets=[one]) for at, one in enumerate(wanted)]
            async with anyio.create_task_group() as group:
                for network in made:
                    group.start_soon(networks.remove, network)
            assert not {network.bridge for network in made} & {name for _, name in socket.if_nameindex()}
