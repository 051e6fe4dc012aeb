"""A name server of the test's own."""

import socket
import struct
import threading
from contextlib import ExitStack, contextmanager
from functools import partial

from runtime.linux import netns
from runtime.network.dns_message import parse_query


@contextmanager
def upstream(address, answer, namespace=None):
    """A name server at `address`, on UDP and TCP; `answer` gives it a query and whether it came over UDP.

    It is in the network namespace that is pinned to `namespace`, without one on the host.
    """

    def here(make, *arguments):
        return make(*arguments) if namespace is None else netns.inside(namespace, partial(make, *arguments))

    with ExitStack() as stack:
        udp = stack.enter_context(here(socket.socket, socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind((address, 53))
        tcp = stack.enter_context(here(socket.create_server, (address, 53)))
        end = b"end"

        def serve_udp():
            while True:
                data, peer = udp.recvfrom(65535)
                if data == end:
                    return
                udp.sendto(answer(parse_query(data), True), peer)

        def serve_tcp():
            while True:
                connection, _ = tcp.accept()
                with connection, connection.makefile("rb") as stream:
                    length = stream.read(2)
                    if length == end[:2]:
                        return
                    data = answer(parse_query(stream.read(struct.unpack("!H", length)[0])), False)
                    connection.sendall(struct.pack("!H", len(data)) + data)

        threads = [threading.Thread(target=serve) for serve in (serve_udp, serve_tcp)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            with here(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.sendto(end, (address, 53))
            with here(socket.create_connection, (address, 53)) as one:
                one.sendall(end)
            for thread in threads:
                thread.join()
