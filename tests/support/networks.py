"""Networks of an engine without the engine, containers that are namespaces only, and connections between them."""

import secrets
import socket
import struct
import subprocess
import threading
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import anyio

from runtime.linux import netns
from runtime.network.dns_message import encode_name
from runtime.network.model import EndpointSettings
from runtime.network.networks import Networks
from runtime.store import Store


@asynccontextmanager
async def opened(paths, live=None, processes=None):
    """Give the networks of an engine; they end as a killed engine's do: nothing is taken down."""
    store = Store.open(paths)
    async with anyio.create_task_group() as group:
        networks = Networks(paths, store, group)
        await networks.open(live or {}, processes or {})
        try:
            yield networks
        finally:
            group.cancel_scope.cancel()
            # the kernel closes a dead engine's sockets
            networks._publishing.close()
    store.close()


@asynccontextmanager
async def cleaned(paths, live=None, processes=None):
    """Give the networks of an engine and remove all that was made."""
    async with opened(paths, live, processes) as networks:
        try:
            yield networks
        finally:
            with anyio.CancelScope(shield=True):
                for path in list(paths.netns.glob("*")):
                    await networks.close_namespace(path.name)
                async with anyio.create_task_group() as group:
                    for network in networks.list():
                        if network.name not in ("bridge", "host", "none"):
                            group.start_soon(networks.remove, network)
                await networks.settle()


async def container(networks, name, *joined):
    id = secrets.token_hex(32)
    await networks.open_namespace(id, name, {})
    for network in joined:
        await networks.connect(id, name, network, EndpointSettings(aliases=(name + "-alias",)))
    return id


async def join(networks, id, network, **settings):
    name = networks.endpoints(id)[0].container_name
    await networks.connect(id, name, network, EndpointSettings(**settings))


def address(networks, id, at=0):
    return networks.endpoints(id)[at].ipv4.partition("/")[0]


def listener(networks, id, host="0.0.0.0", port=80):
    """Return a listening socket in container `id`; on "::" for IPv4 too."""
    dual = {"family": socket.AF_INET6, "dualstack_ipv6": True} if host == "::" else {}
    return netns.inside(networks.namespace(id), partial(socket.create_server, (host, port), **dual))


@contextmanager
def serving(listening, greeting, callers=None):
    """Answer every connection with `greeting` until the block ends; `callers` takes who called."""

    def serve():
        while True:
            try:
                connection, caller = listening.accept()
            except OSError:
                return
            if callers is not None:
                callers.append(caller[0])
            with connection:
                connection.sendall(greeting)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        listening.close()


def greet(networks, source, target, port=80, timeout_s=5.0):
    """Return what a connection from container `source` (None: the host) receives."""

    def call():
        made = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET)
        made.settimeout(timeout_s)
        return made

    made = call() if source is None else netns.inside(networks.namespace(source), call)
    with made:
        made.connect((target, port))
        return made.recv(100)


def question(name, kind=1):
    return struct.pack("!HHHHHH", 9, 0x100, 1, 0, 0, 0) + encode_name(name) + struct.pack("!HH", kind, 1)


def exchange(networks, id, data, kind=socket.SOCK_DGRAM):
    """Return what the resolver of container `id` answers to the messages `data`, over UDP or over one connection."""
    messages = [data] if isinstance(data, bytes) else data
    made = netns.inside(networks.namespace(id), partial(socket.socket, socket.AF_INET, kind))
    with made:
        made.settimeout(8)
        made.connect(("127.0.0.11", 53))
        if kind == socket.SOCK_DGRAM:
            made.send(messages[0])
            return made.recv(65535)
        made.sendall(b"".join(struct.pack("!H", len(one)) + one for one in messages))
        with made.makefile("rb") as stream:
            found = [stream.read(struct.unpack("!H", stream.read(2))[0]) for _ in messages]
        return found[0] if isinstance(data, bytes) else found


def ask(networks, id, name):
    """Return the IPv4 addresses that the resolver of container `id` gives for `name`, and the answer's code."""
    answer = exchange(networks, id, question(name))
    count = struct.unpack_from("!H", answer, 6)[0]
    return {socket.inet_ntoa(answer[-16 * n :][12:16]) for n in range(1, count + 1)}, answer[3] & 15


@contextmanager
def second_machine():
    """Another machine next to this one: a network namespace on a wire of its own; gives its path.

    It is 198.51.100.2 and 2001:db8:77::2, this one 198.51.100.1 and 2001:db8:77::1.
    """
    name = f"skf{secrets.token_hex(3)}"
    for command in (
        f"ip netns add {name}",
        f"ip link add {name} type veth peer name wire netns {name}",
        f"ip addr add 198.51.100.1/30 dev {name}",
        f"ip -6 addr add 2001:db8:77::1/64 dev {name} nodad",
        f"ip link set {name} up",
        f"ip -n {name} addr add 198.51.100.2/30 dev wire",
        f"ip -n {name} -6 addr add 2001:db8:77::2/64 dev wire nodad",
        f"ip -n {name} link set wire up",
        f"ip -n {name} link set lo up",
        f"ip -n {name} route add default via 198.51.100.1",
        f"ip -n {name} -6 route add default via 2001:db8:77::1",
    ):
        subprocess.run(command.split(), check=True)
    try:
        yield f"/run/netns/{name}"
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)
        subprocess.run(["ip", "netns", "del", name], check=True)
