"""Published ports on the host: who holds one, and holding ours."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.errors import BadRequestError, ConflictError, ForbiddenError

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
EVERYWHERE = ("", "0.0.0.0", "::")


@dataclass(frozen=True)
class PortBinding:
    """A container's port on the host; `host_port` 0 lets the host choose."""

    container_port: int
    protocol: str
    host_ip: str
    host_port: int


def hold(binding: PortBinding) -> tuple[PortBinding, list[socket.socket]]:
    """Bind the host's port, so that no other program takes it; return the binding with its port, and the sockets.

    Traffic does not reach the sockets: nftables turns it to the container before. Raises ConflictError that names the
    holder when the port is in use.
    """
    if ":" in binding.host_ip and binding.host_ip != "::":
        raise BadRequestError(
            f"port [{binding.host_ip}]:{binding.host_port}/{binding.protocol} can't be published: "
            "the container is reached over IPv4 only",
            "publish on an IPv4 address of this machine",
        )
    kind = KINDS.get(binding.protocol)
    if kind is None:
        if not binding.host_port:
            raise BadRequestError(f"no host port can be chosen for protocol {binding.protocol}", "name the host port")
        return binding, []
    sockets: list[socket.socket] = []
    family = socket.AF_INET6 if ":" in binding.host_ip else socket.AF_INET
    held = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        if kind == socket.SOCK_STREAM:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((binding.host_ip or "0.0.0.0", binding.host_port))
        if kind == socket.SOCK_STREAM:
            held.listen(1)
    except OSError as error:
        held.close()
        raise _refusal(binding, error) from error
    sockets.append(held)
    return replace(binding, host_port=held.getsockname()[1]), sockets


def _refusal(binding: PortBinding, error: OSError) -> Exception:
    where = f"{binding.host_ip or '0.0.0.0'}:{binding.host_port}/{binding.protocol}"
    if error.errno == errno.EADDRINUSE:
        return ConflictError(
            f"port {where} is already in use by {holder(binding)}",
            'stop it, or publish another port (ports: "HOST:CONTAINER")',
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ForbiddenError(f"port {where} can't be bound: {error.strerror}", "ports below 1024 need root")
    if error.errno == errno.EADDRNOTAVAIL:
        return BadRequestError(
            f"port {where}: this machine has no address {binding.host_ip}", "publish on another host IP"
        )
    return BadRequestError(f"port {where} can't be bound: {error.strerror}")


def holder(binding: PortBinding) -> str:
    """Return who holds the port: "process 123 (nginx)", or what can be said."""
    inodes = _inodes(binding)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            for descriptor in os.scandir(folder / "fd"):
                target = os.readlink(descriptor.path)
                if target.startswith("socket:[") and target[8:-1] in inodes:
                    return f"process {folder.name} ({(folder / 'comm').read_text().strip()})"
        except OSError:
            continue
    return "another process"


def _inodes(binding: PortBinding) -> set[str]:
    found = set()
    for version in ("", "6"):
        try:
            lines = Path(f"/proc/net/{binding.protocol}{version}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == binding.host_port and (
                binding.protocol != "tcp" or fields[3] == "0A"
            ):
                found.add(fields[9])
    return found


def holders_among(bindings: Mapping[str, list[PortBinding]], wanted: PortBinding) -> str | None:
    """Return the name under which one of our own `bindings` (by container name) holds `wanted`, or None."""
    for name, held in bindings.items():
        for one in held:
            same = one.host_port == wanted.host_port != 0 and one.protocol == wanted.protocol
            if same and (one.host_ip == wanted.host_ip or one.host_ip in EVERYWHERE or wanted.host_ip in EVERYWHERE):
                return name
    return None
