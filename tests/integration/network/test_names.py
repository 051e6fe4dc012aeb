import ipaddress
import socket
import struct
from dataclasses import replace
from functools import partial

import anyio.to_thread
import pytest

from runtime.network.dns_message import encode_name, respond
from runtime.network.model import EndpointSettings
from tests.support.name_server import upstream
from tests.support.networks import ask, cleaned, container, exchange, opened, question

pytestmark = [pytest.mark.root, pytest.mark.anyio]

A, PTR, AAAA = 1, 12, 28
NXDOMAIN, SERVFAIL, FORMERR = 3, 2, 1


async def off(action, *arguments, **named):
    return await anyio.to_thread.run_sync(partial(action, *arguments, **named))


def count(answer):
    return struct.unpack_from("!H", answer, 6)[0]


def code(answer):
    return answer[3] & 15


def is_truncated(answer):
    return bool(answer[2] & 2)


async def asker(networks, network, *servers, name="one"):
    id = await container(networks, name)
    await networks.connect(id, name, network, EndpointSettings(dns_servers=servers))
    return id


FOUND = [ipaddress.ip_address("192.0.2.77")]


async def test_other_names_are_asked_of_the_servers_that_the_container_names(paths):
    async with cleaned(paths) as networks:
        one = await asker(networks, await networks.create(name="front"), "127.53.0.1")
        with upstream("127.53.0.1", lambda query, _: respond(query, 0, FOUND), networks.namespace(one)):
            assert await off(ask, networks, one, "example.com") == ({"192.0.2.77"}, 0)


async def test_when_a_server_is_silent_or_not_there_the_next_is_asked(paths):
    async with cleaned(paths) as networks:
        one = await asker(networks, await networks.create(name="front"), "127.53.0.9", "127.53.0.1")
        with upstream("127.53.0.1", lambda query, _: respond(query, 0, FOUND), networks.namespace(one)):
            assert await off(ask, networks, one, "example.com") == ({"192.0.2.77"}, 0)
        assert (await off(ask, networks, one, "example.com"))[1] == SERVFAIL


async def test_a_name_that_does_not_exist_outside_is_reported(paths):
    async with cleaned(paths) as networks:
        one = await asker(networks, await networks.create(name="front"), "127.53.0.1")
        with upstream("127.53.0.1", lambda query, _: respond(query, NXDOMAIN), networks.namespace(one)):
            assert await off(ask, networks, one, "nowhere.example.com") == (set(), NXDOMAIN)


async def test_what_does_not_fit_a_datagram_comes_over_tcp(paths):
    many = [ipaddress.ip_address(f"192.0.2.{number}") for number in range(100)]
    async with cleaned(paths) as networks:
        one = await asker(networks, await networks.create(name="front"), "127.53.0.1")
        with upstream(
            "127.53.0.1",
            lambda query, is_udp: respond(query, 0, many, 512 if is_udp else 65535),
            networks.namespace(one),
        ):
            assert is_truncated(await off(exchange, networks, one, question("example.com")))
            whole = await off(exchange, networks, one, question("example.com"), socket.SOCK_STREAM)
            assert (count(whole), is_truncated(whole)) == (100, False)


async def test_many_replicas_are_all_found_over_tcp_and_as_many_as_fit_over_udp(paths):
    async with opened(paths) as networks:
        front = await networks.create(name="front", enable_ipv6=True)
        one = await container(networks, "one", front)
        endpoint = networks.endpoints(one)[0]
        for number in range(2, 60):
            networks._table.attach(
                replace(
                    endpoint,
                    id=f"{number}",
                    container_id=f"{number}",
                    ipv4=f"10.0.0.{number}/24",
                    aliases=("web",),
                    dns_names=("web",),
                    ipv6="",
                )
            )
        short = await off(exchange, networks, one, question("web"))
        assert is_truncated(short)
        assert len(short) <= 512
        whole = await off(exchange, networks, one, question("web"), socket.SOCK_STREAM)
        assert (count(whole), is_truncated(whole)) == (58, False)
        for number in range(2, 60):
            networks._table.detach(networks._table.endpoint(front, f"{number}"))
        await networks.close_namespace(one)
        await networks.remove(front)


async def test_several_questions_over_one_connection_are_all_answered(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front", enable_ipv6=True)
        one = await container(networks, "one", front)
        both = [question("one", A), question("one", AAAA)]
        ipv4, ipv6 = await off(exchange, networks, one, both, socket.SOCK_STREAM)
        mine = networks.endpoints(one)[0]
        assert ipv4.endswith(ipaddress.ip_interface(mine.ipv4).packed)
        assert ipv6.endswith(ipaddress.ip_interface(mine.ipv6).packed)


async def test_a_name_without_ipv6_exists_and_has_no_ipv6_address(paths):
    async with cleaned(paths) as networks:
        one = await container(networks, "one", await networks.create(name="front"))
        answer = await off(exchange, networks, one, question("one", AAAA))
        assert (code(answer), count(answer)) == (0, 0)


async def test_an_address_has_a_name(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front", enable_ipv6=True)
        one, two = await container(networks, "one", front), await container(networks, "two", front)
        for address in networks.endpoints(two)[0].addresses:
            answer = await off(exchange, networks, one, question(address.reverse_pointer, PTR))
            assert answer.endswith(encode_name("two.front"))


async def test_names_are_known_on_common_networks_only(paths):
    async with cleaned(paths) as networks:
        front, back = await networks.create(name="front"), await networks.create(name="back")
        one, two = await asker(networks, front, "127.53.0.1"), await container(networks, "two", back)
        with upstream("127.53.0.1", lambda query, _: respond(query, NXDOMAIN), networks.namespace(one)):
            assert await off(ask, networks, one, "two") == (set(), NXDOMAIN)
        both = await container(networks, "both", front, back)
        assert (await off(ask, networks, one, "both"))[0] == {networks.endpoints(both)[0].ipv4.partition("/")[0]}
        assert (await off(ask, networks, two, "both"))[0] == {networks.endpoints(both)[1].ipv4.partition("/")[0]}
        assert len((await off(ask, networks, both, "both"))[0]) == 2


async def test_an_alias_of_several_containers_has_all_their_addresses(paths):
    async with cleaned(paths) as networks:
        front = await networks.create(name="front")
        ids = [await container(networks, name) for name in ("web-1", "web-2")]
        for id, name in zip(ids, ("web-1", "web-2"), strict=True):
            await networks.connect(id, name, front, EndpointSettings(aliases=("web",)))
        assert (await off(ask, networks, ids[0], "web"))[0] == {
            networks.endpoints(id)[0].ipv4.partition("/")[0] for id in ids
        }
        await networks.close_namespace(ids[1])
        assert len((await off(ask, networks, ids[0], "web"))[0]) == 1


async def test_from_an_internal_network_no_question_leaves(paths):
    async with cleaned(paths) as networks:
        one = await asker(networks, await networks.create(name="inner", internal=True), "127.53.0.1")
        asked = []

        def answer(query, _):
            asked.append(query)
            return respond(query, 0, FOUND)

        with upstream("127.53.0.1", answer, networks.namespace(one)):
            assert (await off(ask, networks, one, "secret.example.com"))[1] == SERVFAIL
            assert asked == []
            await networks.connect(one, "one", await networks.create(name="outer"), EndpointSettings())
            assert (await off(ask, networks, one, "example.com"))[1] == 0


async def test_what_is_no_question_is_refused_and_asked_of_nobody(paths):
    async with cleaned(paths) as networks:
        one = await asker(networks, await networks.create(name="front"), "127.53.0.1")
        answer = await off(exchange, networks, one, b"\0\7" + struct.pack("!HHHHH", 0x100, 1, 0, 0, 0) + b"\x09x")
        assert (answer[:2], code(answer)) == (b"\0\7", FORMERR)


async def test_a_host_that_asks_itself_lends_its_resolver_to_the_default_network_too(paths, monkeypatch):
    monkeypatch.setattr("runtime.network.names.host_resolvers", lambda: ["127.53.0.1"])
    async with cleaned(paths) as networks:
        one = await container(networks, "one", networks.resolve("bridge"))
        with upstream("127.53.0.1", lambda query, _: respond(query, 0, FOUND)):
            assert await off(ask, networks, one, "example.com") == ({"192.0.2.77"}, 0)
            # the default network has no names of its own
            assert await off(ask, networks, one, "one") == ({"192.0.2.77"}, 0)
