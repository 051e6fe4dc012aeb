"""The embedded resolver compared to Docker's (28.5.2): who answers which question, and who is asked."""

import ipaddress
import os
import resource
import socket
import struct
import subprocess
import time
from contextlib import ExitStack, suppress
from functools import partial

import anyio.to_thread
import pytest

from runtime.linux import netns
from runtime.network import upstream as upstreams
from runtime.network.dns_message import encode_name, respond
from runtime.network.model import EndpointSettings
from runtime.network.resolver import MAX_CONNECTIONS
from runtime.network.upstream import MAX_SOCKETS_AT_ONCE, TIMEOUT_S
from tests.support.name_server import upstream
from tests.support.networks import ask, cleaned, container, exchange, question

pytestmark = [pytest.mark.root, pytest.mark.anyio]

A, CNAME, PTR, MX, TXT, AAAA, SRV, ANY = 1, 5, 12, 15, 16, 28, 33, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, REFUSED = 0, 1, 2, 3, 5
OUTSIDE = "192.0.2.77"
SERVER, SECOND = "127.53.0.1", "127.53.0.2"


async def off(action, *arguments, **named):
    return await anyio.to_thread.run_sync(partial(action, *arguments, **named))


async def connected(networks, name, network, **settings):
    id = await container(networks, name)
    await networks.connect(id, name, network, EndpointSettings(**settings))
    return id


class Outside:
    """A name server that knows one name, and what it was asked."""

    def __init__(self):
        self.asked = []

    def answer(self, query, _is_udp):
        self.asked.append((query.name, query.type))
        if query.name != "known.example":
            return respond(query, NXDOMAIN)
        return respond(query, NOERROR, [ipaddress.ip_address(OUTSIDE)] if query.type == A else [])


# name, type, the answer's code, its records, whether the name servers are asked
ANSWERS = [
    ("two", A, NOERROR, ["IPv4"], False),
    ("TWO", A, NOERROR, ["IPv4"], False),
    ("two", AAAA, NOERROR, ["IPv6"], False),
    ("two.front", A, NOERROR, ["IPv4"], False),
    ("alias", AAAA, NOERROR, ["IPv6"], False),
    ("inner.example", A, NOERROR, ["IPv4"], False),
    ("old", A, NOERROR, ["old IPv4"], False),
    ("old", AAAA, NOERROR, [], False),
    ("two", MX, NOERROR, [], False),
    ("two", TXT, NXDOMAIN, [], True),
    ("two", SRV, NXDOMAIN, [], True),
    ("two", CNAME, NXDOMAIN, [], True),
    ("two", ANY, NXDOMAIN, [], True),
    ("_http._tcp.two", SRV, NXDOMAIN, [], True),
    ("two.back", A, NXDOMAIN, [], True),
    ("apart", A, NXDOMAIN, [], True),
    ("nobody", A, NXDOMAIN, [], True),
    ("nobody", AAAA, NXDOMAIN, [], True),
    ("nobody", MX, NXDOMAIN, [], True),
    ("known.example", A, NOERROR, [OUTSIDE], True),
    ("known.example", AAAA, NOERROR, [], True),
    ("known.example", TXT, NOERROR, [], True),
    ("IPv4 reversed", PTR, NOERROR, ["two.front"], False),
    ("IPv6 reversed", PTR, NOERROR, ["two.front"], False),
    ("1.2.0.192.in-addr.arpa", PTR, NXDOMAIN, [], True),
    ("x.in-addr.arpa", PTR, NXDOMAIN, [], True),
    ("known.example", PTR, NOERROR, [], True),
]


def records(answer):
    """Return the addresses and names of a message whose records all have the question's name."""
    found, at = [], answer.index(b"\xc0\x0c") if struct.unpack_from("!H", answer, 6)[0] else 0
    for _ in range(struct.unpack_from("!H", answer, 6)[0]):
        (size,) = struct.unpack_from("!H", answer, at + 10)
        data = answer[at + 12 : at + 12 + size]
        found.append(str(ipaddress.ip_address(data)) if size in (4, 16) else data)
        at += 12 + size
    return found


async def test_questions_are_answered_as_by_docker(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front", enable_ipv6=True)
        plain, back = await networks.create(name="plain"), await networks.create(name="back")
        one = await connected(networks, "one", front, dns_servers=(SERVER,))
        await networks.connect(one, "one", plain, EndpointSettings())
        two = await connected(networks, "two", front, aliases=("alias",), hostname="inner.example")
        old = await connected(networks, "old", plain)
        await connected(networks, "apart", back)
        ipv4, ipv6 = networks.endpoints(two)[0].addresses
        names = {"IPv4 reversed": ipv4.reverse_pointer, "IPv6 reversed": ipv6.reverse_pointer}
        values = {"IPv4": str(ipv4), "IPv6": str(ipv6), "old IPv4": str(networks.endpoints(old)[0].addresses[0])}
        outside = Outside()
        with upstream(SERVER, outside.answer, networks.namespace(one)):
            for name, kind, code, expected, is_forwarded in ANSWERS:
                for transport in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    outside.asked.clear()
                    data = question(names.get(name, name), kind)
                    answer = await off(exchange, networks, one, data, transport)
                    wanted = [encode_name(e) if kind == PTR else values.get(e, e) for e in expected]
                    assert (answer[3] & 15, records(answer)) == (code, wanted), (name, kind)
                    assert outside.asked == ([(names.get(name, name), kind)] if is_forwarded else []), (name, kind)


@pytest.mark.parametrize(
    ("options", "kind", "code"),
    [
        (("ndots:0",), A, NXDOMAIN),
        (("ndots:1",), A, NOERROR),
        (("ndots:2",), AAAA, NOERROR),
        (("ndots:1",), TXT, NXDOMAIN),
    ],
)
async def test_a_name_without_a_dot_stays_here_where_the_container_completes_it_itself(paths, options, kind, code):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        one = await connected(networks, "one", front, dns_servers=(SERVER,), dns_options=options)
        outside = Outside()
        with upstream(SERVER, outside.answer, networks.namespace(one)):
            answer = await off(exchange, networks, one, question("nobody", kind))
        assert (answer[3] & 15, bool(outside.asked)) == (code, code == NXDOMAIN)


@pytest.mark.parametrize(
    ("first", "second", "code", "asks_second"),
    [
        (NOERROR, NOERROR, NOERROR, False),
        (NXDOMAIN, NOERROR, NXDOMAIN, False),
        (FORMERR, NOERROR, FORMERR, False),
        (SERVFAIL, NOERROR, NOERROR, True),
        (REFUSED, NOERROR, NOERROR, True),
        (REFUSED, NXDOMAIN, NXDOMAIN, True),
        (SERVFAIL, REFUSED, SERVFAIL, True),
        (REFUSED, REFUSED, SERVFAIL, True),
        (None, NOERROR, NOERROR, True),
        (None, None, SERVFAIL, False),
    ],
)
async def test_the_second_server_is_asked_when_the_first_fails_or_refuses(paths, first, second, code, asks_second):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        one = await connected(networks, "one", front, dns_servers=(SERVER, SECOND))
        asked = []

        def server(code):
            def answer(query, _is_udp):
                asked.append(code)
                return respond(query, code)

            return answer

        with ExitStack() as stack:
            for address, says in ((SERVER, first), (SECOND, second)):
                if says is not None:
                    stack.enter_context(upstream(address, server(says), networks.namespace(one)))
            for transport in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                asked.clear()
                answer = await off(exchange, networks, one, question("a.example"), transport)
                assert answer[3] & 15 == code
                assert (second in asked[1:] or (first is None and second in asked)) == asks_second


async def test_servers_of_the_host_are_asked_from_the_container_but_for_those_on_the_hosts_loopback(paths, monkeypatch):
    """A container whose way out is a VPN has its questions go through it; here the way leads to its own loopback."""
    hosts: list[str] = []
    monkeypatch.setattr("runtime.network.names.host_resolvers", lambda: hosts)
    vpn = "198.51.100.53"
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        add = ["nsenter", f"--net={networks.namespace(one)}", "ip", "addr", "add", f"{vpn}/32", "dev", "lo"]
        await off(subprocess.run, add, check=True)
        inside = upstream(
            vpn, lambda query, _: respond(query, 0, [ipaddress.ip_address("192.0.2.1")]), networks.namespace(one)
        )
        on_host = upstream(SERVER, lambda query, _: respond(query, 0, [ipaddress.ip_address("192.0.2.2")]))
        with inside, on_host:
            for server, found in ((vpn, "192.0.2.1"), (SERVER, "192.0.2.2")):
                hosts[:] = [server]
                assert await off(ask, networks, one, "a.example") == ({found}, 0)


async def test_questions_are_answered_after_the_containers_network_was_left_and_joined(paths):
    async with cleaned(paths) as networks:
        front, back = await networks.create(name="front"), await networks.create(name="back")
        one = await connected(networks, "one", front, dns_servers=(SERVER,))
        await networks.disconnect(one, front)
        await networks.connect(one, "one", back, EndpointSettings(dns_servers=(SERVER,)))
        with upstream(SERVER, Outside().answer, networks.namespace(one)):
            assert await off(ask, networks, one, "known.example") == ({OUTSIDE}, 0)


@pytest.fixture
def many_files():
    """As many open files as the machine lets us have: the engine raises its limit by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
async def test_a_flood_of_one_container_is_bounded_and_does_not_take_anothers_answers(paths, monkeypatch):
    # smaller bounds are reached on a busy machine, too, before the first questions give up
    monkeypatch.setattr(upstreams, "MAX_OPEN", 100)
    monkeypatch.setattr(upstreams, "MAX_WAITING", 100)
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        flooding = await connected(networks, "flooding", front, dns_servers=(SERVER,))
        calm = await connected(networks, "calm", front, dns_servers=(SERVER,))
        silent = netns.inside(networks.namespace(flooding), partial(socket.socket, socket.AF_INET, socket.SOCK_DGRAM))
        asking = netns.inside(networks.namespace(flooding), partial(socket.socket, socket.AF_INET, socket.SOCK_DGRAM))
        with silent, asking, upstream(SERVER, Outside().answer, networks.namespace(calm)):
            silent.bind((SERVER, 53))
            asking.connect(("127.0.0.11", 53))
            asking.settimeout(0)
            before = len(os.listdir("/proc/self/fd"))
            await off(flood, asking)
            assert len(os.listdir("/proc/self/fd")) - before <= upstreams.MAX_OPEN + MAX_SOCKETS_AT_ONCE
            began = time.monotonic()
            assert await off(ask, networks, calm, "known.example") == ({OUTSIDE}, 0)
            assert (await off(ask, networks, calm, "flooding"))[1] == 0
            assert time.monotonic() - began < TIMEOUT_S  # neither waited until the flood's questions gave up
            assert (await asked_again(networks, flooding, "calm"))[1] == 0


async def asked_again(networks, id, name):
    """Ask as resolvers do, again: a question may be lost where the container has filled its own queue (udp(7))."""
    for _ in range(3):
        with suppress(TimeoutError):
            return await off(ask, networks, id, name)
    return await off(ask, networks, id, name)


async def test_connections_to_the_resolver_are_bounded(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        flooding, calm = await connected(networks, "flooding", front), await connected(networks, "calm", front)
        before = len(os.listdir("/proc/self/fd"))
        with ExitStack() as stack:

            def connect():
                one = stack.enter_context(socket.socket())
                one.settimeout(5)
                one.connect(("127.0.0.11", 53))
                return one

            made = [await off(netns.inside, networks.namespace(flooding), connect) for _ in range(MAX_CONNECTIONS + 1)]
            assert await off(made[-1].recv, 1) == b""  # hung up on
            assert len(os.listdir("/proc/self/fd")) - before - len(made) <= MAX_CONNECTIONS
            assert (await off(ask, networks, calm, "flooding"))[1] == 0
            data = question("calm")
            await off(made[0].sendall, struct.pack("!H", len(data)) + data)
            assert (await off(made[0].recv, 100))[5] & 15 == 0
        answer = await off(exchange, networks, flooding, data, socket.SOCK_STREAM)
        assert answer[3] & 15 == 0


def flood(asking):
    """Ask and ask until a question is refused."""
    data = question("a.example")
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for _ in range(20):
            asking.send(data)
        try:
            answer = asking.recv(4096)
        except BlockingIOError:
            time.sleep(0.001)  # the sender's pace, not a wait: a full receive queue drops what comes
            continue
        if answer[3] & 15 == REFUSED:  # before it come failures, on a machine that is slow to ask so much
            return
    raise AssertionError("nothing was refused")
