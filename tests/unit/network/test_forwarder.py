"""The forwarder's loop, TCP and UDP over real sockets of the loopback."""

import resource
import socket
import threading
from contextlib import ExitStack, closing, contextmanager

import pytest

from runtime.network.forwarder import tcp, udp
from runtime.network.forwarder.loop import READ, Loop
from runtime.network.forwarder.tcp import TcpForwarder
from runtime.network.forwarder.udp import MAX_CLIENTS, UdpForwarder


@contextmanager
def running(loop):
    """Run the loop in a thread of its own."""
    waker, woken = socket.socketpair()
    loop.watch(woken.fileno(), READ, lambda _: loop.stop())
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield
    finally:
        waker.send(b"x")
        thread.join()
        loop.forget(woken.fileno())
        waker.close()
        woken.close()


@pytest.fixture
def limit():
    """Change the limit of open files; at the end it is what it was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda files: resource.setrlimit(resource.RLIMIT_NOFILE, (soft if files is None else files, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def bound():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(5)
    return made


def ask(client, server, place, data):
    """Send `data` over the forwarder at `place`; have the server echo it; return what the client receives."""
    client.sendto(data, place)
    heard, peer = server.recvfrom(100)
    server.sendto(heard, peer)
    return client.recv(100), peer


def test_of_many_udp_clients_the_oldest_give_way_and_all_are_answered(limit):
    limit(3 * MAX_CLIENTS)
    loop = Loop()
    with ExitStack() as stack:
        server, client = (stack.enter_context(closing(bound())) for _ in range(2))
        listener = bound()
        forwarded = UdpForwarder(loop, listener, server.getsockname())
        place = listener.getsockname()
        with running(loop):
            first = ask(client, server, place, b"first")
            for number in range(MAX_CLIENTS):
                another, data = stack.enter_context(closing(bound())), str(number).encode()
                assert ask(another, server, place, data)[0] == data
            assert len(forwarded._clients) == MAX_CLIENTS
            again = ask(client, server, place, b"again")
        assert (first[0], again[0]) == (b"first", b"again")
        assert first[1] != again[1]  # it was forgotten, and has another port towards the container
        forwarded.close()


def test_a_udp_client_that_is_silent_is_forgotten(monkeypatch):
    monkeypatch.setattr(udp, "IDLE_S", 0.02)
    monkeypatch.setattr(udp, "LOOK_S", 0.01)
    loop, gone = Loop(), threading.Event()
    with closing(bound()) as server, closing(bound()) as client:
        listener = bound()
        forwarded = UdpForwarder(loop, listener, server.getsockname())
        drop = forwarded._drop
        forwarded._drop = lambda peer: (drop(peer), gone.set())
        with running(loop):
            assert ask(client, server, listener.getsockname(), b"one")[0] == b"one"
            assert gone.wait(5)
            assert not forwarded._clients
            assert ask(client, server, listener.getsockname(), b"two")[0] == b"two"
        forwarded.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_is_led_elsewhere(kind):
    loop = Loop()
    listener = socket.create_server(("127.0.0.1", 0)) if kind == socket.SOCK_STREAM else bound()
    place = listener.getsockname()
    with closing(bound()) as one, closing(bound()) as two:
        if kind == socket.SOCK_DGRAM:
            port = UdpForwarder(loop, listener, one.getsockname())
            with running(loop), closing(bound()) as client:
                assert ask(client, one, place, b"1")[0] == b"1"
                port.target = two.getsockname()
                assert ask(client, two, place, b"2")[0] == b"2"
            port.close()
            return
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port = TcpForwarder(loop, listener, one.getsockname())
        with running(loop):
            for server in (one, two):
                port.target = server.getsockname()
                with socket.create_connection(place, 5) as client:
                    accepted, _ = server.accept()
                    with accepted:
                        accepted.sendall(b"x")
                        assert client.recv(1) == b"x"
        port.close()


def test_clients_wait_while_descriptors_have_run_out(monkeypatch, limit):
    monkeypatch.setattr(tcp, "PAUSE_S", 0.01)
    loop, paused = Loop(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        port = TcpForwarder(loop, listener, server.getsockname())
        again = port._accept_again
        port._accept_again = lambda: (paused.set(), again())
        with running(loop):
            limit(3)
            client.connect(listener.getsockname())
            assert paused.wait(5)
            limit(None)
            accepted, _ = server.accept()
            with accepted:
                accepted.sendall(b"x")
                assert client.recv(1) == b"x"
        port.close()
