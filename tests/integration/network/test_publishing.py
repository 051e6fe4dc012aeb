import secrets
import socket
import threading
from contextlib import contextmanager
from functools import partial

import anyio.to_thread
import pytest

from runtime.errors import ConflictError, InternalError
from runtime.linux import netns
from runtime.network.model import EndpointSettings, Subnet
from runtime.network.ports import PortBinding, parse_binding
from tests.support.networks import address, cleaned, container, greet, listener, opened, serving

pytestmark = [pytest.mark.root, pytest.mark.anyio]


@contextmanager
def echoing(networks, id, mark, port=53, family=socket.AF_INET):
    """A UDP server in container `id` that sends back what it gets, after `mark`."""
    made = netns.inside(networks.namespace(id), partial(socket.socket, family, socket.SOCK_DGRAM))
    made.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))

    def serve():
        while True:
            data, peer = made.recvfrom(65535)
            if data == b"end":
                return
            made.sendto(mark + data, peer)

    def end():
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.sendto(b"end", ("::1" if family == socket.AF_INET6 else "127.0.0.1", port))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        netns.inside(networks.namespace(id), end)
        thread.join()
        made.close()


def udp(networks=None, source=None, host="127.0.0.1", timeout_s=5.0):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    make = partial(socket.socket, family, socket.SOCK_DGRAM)
    made = make() if source is None else netns.inside(networks.namespace(source), make)
    made.settimeout(timeout_s)
    return made


def call(networks, source, host, port, data=b"hello"):
    """Return what a UDP server answers to container `source` (None: the host)."""
    with udp(networks, source, host) as made:
        made.connect((host, port))
        made.send(data)
        return made.recv(65535)


async def off(action, *arguments):
    return await anyio.to_thread.run_sync(partial(action, *arguments))


def from_elsewhere(namespace, host, port, kind, data=b"hello"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with netns.inside(namespace, partial(socket.socket, family, kind)) as made:
        made.settimeout(5)
        made.connect((host, port))
        made.send(data)
        return made.recv(65535)


async def test_udp_is_answered_from_everywhere(paths, elsewhere):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        one = await container(networks, "one", front)
        two = await container(networks, "two", await networks.create(name="back"))
        [bound] = await networks.publish(one, [PortBinding(53, "udp", "", 0)])
        with echoing(networks, one, b"one:"):
            for source, host in (
                (None, "127.0.0.1"),
                (None, "::1"),
                (None, address(networks, one)),
                (two, front.ipv4.gateway),
                (one, front.ipv4.gateway),
            ):
                port = 53 if host == address(networks, one) else bound.host_port
                assert await off(call, networks, source, host, port) == b"one:hello", (source, host)
            there = partial(from_elsewhere, elsewhere)
            for host in ("198.51.100.1", "2001:db8:77::1"):
                assert await off(there, host, bound.host_port, socket.SOCK_DGRAM) == b"one:hello"


async def test_a_udp_client_is_not_led_to_a_container_that_was_replaced(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        one, two = await container(networks, "one", front), await container(networks, "two", front)
        [bound] = await networks.publish(one, [PortBinding(53, "udp", "", 0)])
        with udp() as client:
            client.connect(("127.0.0.1", bound.host_port))
            with echoing(networks, one, b"one:"):
                await off(client.send, b"hello")
                assert await off(client.recv, 100) == b"one:hello"
            await networks.unpublish(one)
            client.send(b"to nobody")  # a flow that leads past every container
            with pytest.raises(ConnectionRefusedError):
                await off(client.recv, 100)
            await networks.publish(two, [bound])
            with echoing(networks, two, b"two:"):
                await off(client.send, b"hello")
                assert await off(client.recv, 100) == b"two:hello"


@pytest.mark.parametrize(
    ("host_ip", "reached", "closed"),
    [
        ("", ["127.0.0.1", "::1", "198.51.100.1", "2001:db8:77::1"], []),
        ("0.0.0.0", ["127.0.0.1", "198.51.100.1"], ["::1"]),
        ("127.0.0.1", ["127.0.0.1"], ["::1", "198.51.100.1"]),
        ("198.51.100.1", ["198.51.100.1"], ["127.0.0.1", "::1"]),
        ("::", ["::1", "2001:db8:77::1"], ["127.0.0.1"]),
        ("::1", ["::1"], ["127.0.0.1", "2001:db8:77::1"]),
    ],
)
@pytest.mark.parametrize("has_ipv6", [False, True])
async def test_a_port_is_published_where_it_should_be_and_nowhere_else(
    paths, elsewhere, host_ip, reached, closed, has_ipv6
):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front", enable_ipv6=has_ipv6))
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", host_ip, 0)])
        with serving(listener(networks, one, host="::" if has_ipv6 else "0.0.0.0"), b"one"):
            for host in reached:
                assert await off(greet, networks, None, host, bound.host_port) == b"one", host
                if host not in ("127.0.0.1", "::1"):
                    there = partial(from_elsewhere, elsewhere, host, bound.host_port, socket.SOCK_STREAM)
                    assert await off(there) == b"one", host
            for host in closed:
                with pytest.raises(OSError, match="refused"):
                    await off(greet, networks, None, host, bound.host_port)


async def test_much_data_passes_the_forwarder_and_its_end_too(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "::1", 0)])
        sent = secrets.token_bytes(8 << 20)

        def serve(listening):
            connection, _ = listening.accept()
            with connection:
                got = b"".join(iter(lambda: connection.recv(1 << 20), b""))
                connection.sendall(got[::-1])

        def talk():
            with socket.create_connection(("::1", bound.host_port), 20) as made:
                made.sendall(sent)
                made.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: made.recv(1 << 20), b""))

        with listener(networks, one) as listening:
            thread = threading.Thread(target=serve, args=(listening,))
            thread.start()
            assert await off(talk) == sent[::-1]
            thread.join()


async def test_a_port_that_nobody_serves_refuses_over_ipv6_too(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
        with pytest.raises(OSError, match=r"refused|reset"):
            await off(greet, networks, None, "::1", bound.host_port)


async def test_a_port_over_ipv6_is_forwarded_by_the_next_engine_too(paths):
    async with opened(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
        listening = listener(networks, one)
    async with cleaned(paths, {one: "one"}) as networks:
        with serving(listening, b"one"):
            assert await networks.publish(one, [bound]) == [bound]
            assert await off(greet, networks, None, "::1", bound.host_port) == b"one"


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_of_a_range_the_first_free_port_is_taken_and_a_full_one_names_who_has_it(paths, protocol):
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        one, two = await container(networks, "one", front), await container(networks, "two", front)
        with free_ports(3, kind) as first:
            pass
        wanted = parse_binding(f"80/{protocol}", {"HostPort": f"{first}-{first + 2}"})
        with socket.socket(socket.AF_INET, kind) as other:
            other.bind(("0.0.0.0", first))
            if protocol == "tcp":
                other.listen()
            networks.check_ports([wanted, wanted])
            got = await networks.publish(one, [wanted])
            assert [binding.host_port for binding in got] == [first + 1]
            assert [binding.host_port for binding in await networks.publish(two, [wanted])] == [first + 2]
            with pytest.raises(ConflictError, match=rf"no port of .*{first}-{first + 2}/{protocol}.*process \d+ \("):
                networks.check_ports([wanted])
        await networks.unpublish(one)
        networks.check_ports([wanted])
        with pytest.raises(ConflictError, match="container two"):
            networks.check_ports([parse_binding(f"80/{protocol}", {"HostPort": str(first + 2)})])


@contextmanager
def free_ports(count, kind):
    """Find `count` ports in a row that nobody has."""
    for first in range(23000, 30000, 7):
        sockets = [socket.socket(socket.AF_INET6, kind) for _ in range(count)]
        try:
            for port, one in enumerate(sockets, first):
                one.bind(("::", port))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
        yield first
        return


async def test_the_same_port_is_published_for_tcp_and_udp(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        with free_ports(1, socket.SOCK_STREAM) as port:
            wanted = [PortBinding(53, protocol, "", port) for protocol in ("tcp", "udp")]
        assert await networks.publish(one, wanted) == wanted
        with serving(listener(networks, one, port=53), b"one"), echoing(networks, one, b"one:"):
            assert await off(greet, networks, None, "127.0.0.1", port) == b"one"
            assert await off(call, networks, None, "127.0.0.1", port) == b"one:hello"


async def test_a_port_asked_for_twice_is_refused_and_nothing_is_held(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        with free_ports(1, socket.SOCK_STREAM) as port:
            twice = [PortBinding(80, "tcp", "", port), PortBinding(81, "tcp", "127.0.0.1", port)]
        with pytest.raises(ConflictError, match="twice"):
            await networks.publish(one, twice)
        networks.check_ports(twice[:1])


async def test_a_random_port_leaves_named_ones_to_who_names_them(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        bound = await networks.publish(one, [PortBinding(port, "tcp", "", 0) for port in range(80, 90)])
        assert len({binding.host_port for binding in bound}) == 10
        assert [binding.container_port for binding in bound] == list(range(80, 90))


async def test_a_container_reaches_a_neighbour_over_the_host(paths):
    async with cleaned(paths) as networks:
        front, back = await networks.create(name="front"), await networks.create(name="back")
        one, two = await container(networks, "one", front), await container(networks, "two", back)
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
        await networks.connect(two, "two", front, EndpointSettings())
        with serving(listener(networks, one), b"one"):
            for source in (one, two):
                assert await off(greet, networks, source, back.ipv4.gateway, bound.host_port) == b"one"


async def test_a_published_port_follows_the_container_to_another_network(paths):
    async with cleaned(paths) as networks:
        front, back = await networks.create(name="front"), await networks.create(name="back", enable_ipv6=True)
        one = await container(networks, "one", front)
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "", 0)])
        await networks.connect(one, "one", back, EndpointSettings())
        assert await networks.publish(one, [bound]) == [bound]
        await networks.disconnect(one, front)
        assert await networks.publish(one, [bound]) == [bound]
        with serving(listener(networks, one, host="::"), b"one"):
            for host in ("127.0.0.1", "::1"):
                assert await off(greet, networks, None, host, bound.host_port) == b"one"
        await networks.disconnect(one, back)
        assert await networks.publish(one, [bound]) == []
        with pytest.raises(OSError, match="refused"):
            await off(greet, networks, None, "127.0.0.1", bound.host_port)


async def test_the_only_address_is_given_to_one_container_after_the_other(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front", subnets=[Subnet("10.213.0.0/30", "")])
        for name in ("one", "two", "three"):
            id = await container(networks, name, front)
            assert address(networks, id) == "10.213.0.2"
            await networks.close_namespace(id)


async def test_a_forwarder_that_can_not_be_started_is_reported_and_nothing_stays_held(paths, monkeypatch):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        with monkeypatch.context() as changed:
            changed.setattr("sys.executable", "/nowhere/python")
            with pytest.raises(InternalError, match="can't be started: No such file or directory"):
                await networks.publish(one, [PortBinding(80, "tcp", "", 48123)])
        [bound] = await networks.publish(one, [PortBinding(80, "tcp", "", 48123)])
        with serving(listener(networks, one), b"one"):
            for host in ("127.0.0.1", "::1"):
                assert await off(greet, networks, None, host, bound.host_port) == b"one"
