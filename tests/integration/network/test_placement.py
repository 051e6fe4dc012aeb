"""Networks come back only where they are alone."""

import ipaddress
import secrets
import subprocess
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import combinations

import anyio
import anyio.to_thread
import pytest

from runtime.errors import ConflictError
from runtime.network.model import EndpointSettings, Subnet
from runtime.network.ports import PortBinding
from runtime.paths import Paths
from tests.support.networks import address, cleaned, container, greet, listener, opened, serving

pytestmark = [pytest.mark.root, pytest.mark.anyio, pytest.mark.usefixtures("own_network")]


@contextmanager
def interface(*addresses, name="", up=True):
    """An interface that is somebody else's."""
    name = name or f"skf{secrets.token_hex(3)}"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    try:
        for text in addresses:
            subprocess.run(["ip", "addr", "add", text, "dev", name], check=True)
        if up:
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)


@contextmanager
def route(range, *way):
    subprocess.run(["ip", "route", "add", range, *way], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "route", "del", range, *way], check=True)


def remove(name):
    subprocess.run(["ip", "link", "del", name], check=True)


def addresses(name):
    return subprocess.run(["ip", "addr", "show", name], capture_output=True, text=True, check=True).stdout


def links():
    listed = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {line.split(": ")[1].partition("@")[0] for line in listed.splitlines()}


async def off(action, *arguments):
    return await anyio.to_thread.run_sync(partial(action, *arguments))


async def left(paths, **wanted):
    """Make a network, and let the engine go, which takes its bridge along."""
    async with opened(paths) as networks:
        network = await networks.create(name="front", **wanted)
        await networks.withdraw()
    assert network.bridge not in links()
    return network


def within(subnet, at=0):
    """Return an interface's address inside `subnet`, of a smaller range there."""
    return f"{subnet.range[257 + at]}/24"


@pytest.mark.parametrize("is_up", [True, False])
async def test_a_network_moves_where_its_subnet_is_anothers_now(paths, caplog, is_up):
    before = await left(paths)
    with interface(within(before.ipv4), up=is_up) as other:
        async with opened(paths) as networks:
            after = networks.resolve("front")
            assert not after.ipv4.range.overlaps(before.ipv4.range)
            assert after.ipv4.gateway in addresses(after.bridge)
            assert f"moved from {before.ipv4.subnet} to {after.ipv4.subnet}" in caplog.text
            one = await container(networks, "one", after)
            [bound] = await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
            with serving(listener(networks, one), b"ours"):
                assert await off(greet, networks, None, "127.0.0.1", bound.host_port) == b"ours"
            await networks.close_namespace(one)
            await networks.withdraw()
        assert other in links()
    async with cleaned(paths) as networks:  # where it went is written down
        assert networks.resolve("front").ipv4 == after.ipv4


async def test_a_network_stays_where_nobody_is_in_its_way(paths):
    before = await left(paths, enable_ipv6=True)
    around = ipaddress.ip_network("172.0.0.0/8")
    assert before.ipv4.range.subnet_of(around)
    with interface("198.51.100.1/30") as other, route(str(around), "via", "198.51.100.2", "dev", other):
        async with cleaned(paths) as networks:
            assert networks.resolve("front").subnets == before.subnets


async def test_an_ipv6_subnet_moves_too(paths):
    before = await left(paths, enable_ipv6=True)
    with interface(f"{before.ipv6.range[9]}/64"):
        async with cleaned(paths) as networks:
            after = networks.resolve("front")
            assert after.ipv4 == before.ipv4
            assert not after.ipv6.range.overlaps(before.ipv6.range)


@pytest.mark.parametrize("kind", ["interface", "route"])
async def test_a_subnet_that_the_user_named_is_refused_while_another_has_it(paths, caplog, kind):
    await left(paths, subnets=[Subnet("10.203.0.0/24", "")])
    with ExitStack() as stack:
        if kind == "interface":
            holder = "interface " + stack.enter_context(interface("10.203.0.7/16"))
        else:
            other = stack.enter_context(interface("198.51.100.1/30"))
            stack.enter_context(route("10.203.0.128/25", "via", "198.51.100.2", "dev", other))
            holder = f"the route 10.203.0.128/25 over interface {other}"
        async with opened(paths) as networks:
            said = caplog.text
            assert (
                f"network front can't use its subnet 10.203.0.0/24: 10.203.0.{'0/16' if kind == 'interface' else '128/25'}"
                in said
            )
            assert holder in said
            with pytest.raises(ConflictError, match=holder) as refused:
                await container(networks, "one", networks.resolve("front"))
            assert "another subnet" in refused.value.hint
            back = await networks.create(name="back")
            await container(networks, "two", back)  # others go on
            stack.close()
            three = await container(networks, "three", networks.resolve("front"))
            assert address(networks, three) == "10.203.0.2"
    async with cleaned(paths):
        pass


async def test_a_subnet_that_another_has_is_refused_at_once(paths):
    with interface("10.203.0.7/16") as other:
        async with cleaned(paths) as networks:
            with pytest.raises(ConflictError, match=f"10.203.0.0/16 is used by interface {other} with 10.203.0.7/16"):
                await networks.create(name="front", subnets=[Subnet("10.203.0.0/24", "")])
            assert not [one for one in networks.list() if one.name == "front"]


async def test_a_refused_network_is_removed_and_the_device_of_its_name_stays(paths):
    name = f"skf{secrets.token_hex(3)}"
    options = {"com.docker.network.bridge.name": name}
    await left(paths, options=options)
    with interface(name=name):
        async with opened(paths) as networks:
            with pytest.raises(ConflictError, match=f"interface named {name} already exists"):
                await container(networks, "one", networks.resolve("front"))
            await networks.withdraw()
        assert name in links()
        async with cleaned(paths) as networks:
            await networks.remove(networks.resolve("front"))
        assert name in links()


async def test_another_engine_that_has_the_subnet_is_named(paths, tmp_path):
    beside = Paths(tmp_path / "root", tmp_path / "run")
    beside.root.mkdir()
    before = await left(paths, subnets=[Subnet("10.203.0.0/24", "")])
    async with cleaned(beside) as others:
        await others.create(name="db", subnets=[Subnet("10.203.0.0/24", "")])
        async with opened(paths) as networks:
            named = f"network db of the Skiff engine {beside.engine_id}"
            with pytest.raises(ConflictError, match=named):
                await container(networks, "one", networks.resolve(before.id))
    async with cleaned(paths):
        pass


async def test_a_bridge_that_somebody_removed_is_made_again_for_the_next_container(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        remove(front.bridge)
        with interface(within(front.ipv4)):
            one = await container(networks, "one", front)
            assert ipaddress.ip_address(address(networks, one)) not in front.ipv4.range
            two = await container(networks, "two", networks.resolve("front"))
            with serving(listener(networks, two), b"two"):
                assert await off(greet, networks, one, address(networks, two)) == b"two"


@pytest.mark.parametrize("by", ["the next container", "the next engine"])
async def test_containers_that_run_keep_their_addresses_when_their_bridge_is_made_again(paths, by):
    async with opened(paths) as networks:
        front = await networks.create(name="front")
        one = await container(networks, "one", front)
        remove(front.bridge)
        if by == "the next container":
            two = await container(networks, "two", front)
            with serving(listener(networks, one), b"one"):
                assert await off(greet, networks, two, address(networks, one)) == b"one"
    async with cleaned(paths, {one: "one"}) as networks:
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
        with serving(listener(networks, one), b"one"):
            assert await off(greet, networks, None, "127.0.0.1", bound.host_port) == b"one"


async def test_a_port_is_not_published_to_an_address_that_is_anothers(paths):
    async with opened(paths) as networks:
        front = await networks.create(name="front")
        one = await container(networks, "one", front)
        remove(front.bridge)
    with interface(f"{address(networks, one)}/24") as other:
        async with opened(paths, {one: "one"}) as networks:
            with pytest.raises(ConflictError, match=other) as refused:
                await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
            assert "stop all of them" in refused.value.hint
    async with cleaned(paths, {one: "one"}):
        pass


async def test_one_engine_has_250_networks_and_another_finds_room_too(paths, tmp_path):
    beside = Paths(tmp_path / "root", tmp_path / "run")
    beside.root.mkdir()
    async with cleaned(beside) as others, cleaned(paths) as networks:
        for number in range(250):
            await networks.create(name=f"n{number}")
        for number in range(40):
            await others.create(name=f"o{number}")
        last = networks.resolve("n249")
        one, two = await container(networks, "one", last), await container(networks, "two", last)
        with serving(listener(networks, two), b"two"):
            assert await off(greet, networks, one, address(networks, two)) == b"two"
        made = [one.ipv4.range for one in (*networks.list(), *others.list()) if one.ipv4 is not None]
    assert len(made) == 290
    assert not any(one.overlaps(other) for one, other in combinations(made, 2))


async def test_engines_that_choose_in_the_same_moment_choose_differently(paths, tmp_path):
    beside = Paths(tmp_path / "root", tmp_path / "run")
    beside.root.mkdir()
    async with cleaned(beside) as others, cleaned(paths) as networks:
        for number in range(20):
            async with anyio.create_task_group() as group:
                for engine in (networks, others):
                    group.start_soon(partial(engine.create, name=f"n{number}"))
        made = [one.ipv4.range for one in (*networks.list(), *others.list()) if one.ipv4 is not None]
    assert len(made) == 40
    assert not any(one.overlaps(other) for one, other in combinations(made, 2))


async def test_the_default_network_finds_room_too(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one")
        await networks.connect(one, "one", networks.resolve("bridge"), EndpointSettings())
        assert networks.resolve("bridge").ipv4.is_chosen
