"""Published ports on the host: what is asked for, who holds one, and holding ours."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runtime.errors import BadRequestError, ConflictError, ForbiddenError, SkiffError
from runtime.linux.ports import holder as socket_holder
from runtime.network.forwarder.client import port_key

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
CHOICES = 16


@dataclass(frozen=True)
class PortBinding:
    """A container's port on the host.

    `host_ip` "" is every address of the host, "0.0.0.0" every IPv4 and "::" every IPv6 address. `host_port` 0 lets the
    host choose; with `host_port_last` it is the first port of a range of which one free port is taken.
    """

    container_port: int
    protocol: str
    host_ip: str
    host_port: int
    host_port_last: int = 0

    @property
    def host_ports(self) -> range:
        """The host ports that will do."""
        return range(self.host_port, max(self.host_port, self.host_port_last) + 1)

    @property
    def is_ipv4(self) -> bool:
        """Whether the binding has an IPv4 side."""
        return ":" not in self.host_ip

    @property
    def is_ipv6(self) -> bool:
        """Whether the binding has an IPv6 side."""
        return not self.host_ip or ":" in self.host_ip

    def meets(self, other: PortBinding) -> bool:
        """Return whether the two, each with one port, want the same port of the same address."""
        if self.host_port != other.host_port or self.host_port == 0 or self.protocol != other.protocol:
            return False
        return any(
            mine == its or mine.is_unspecified or its.is_unspecified
            for mine in self._addresses
            for its in other._addresses
            if mine.version == its.version
        )

    @property
    def _addresses(self) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        return [ipaddress.ip_address(text) for text in ([self.host_ip] if self.host_ip else ["0.0.0.0", "::"])]

    def __str__(self) -> str:
        address = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip or "0.0.0.0"
        ports = f"{self.host_port}-{self.host_port_last}" if self.host_port_last else f"{self.host_port}"
        return f"{address}:{ports}/{self.protocol}"


def parse_binding(port: str, binding: Mapping[str, Any]) -> PortBinding:
    """Return what an entry of HostConfig.PortBindings asks for: `port` "80/tcp", `binding` HostIp and HostPort.

    Raises BadRequestError on what can't be.
    """
    number, _, protocol = port.partition("/")
    protocol = protocol or "tcp"
    if protocol not in KINDS:
        raise BadRequestError(
            f"port {port} can't be published: {protocol} is not forwarded here, only tcp and udp are",
            "leave the port out: inside its networks the container is reached over every protocol",
        )
    host_ip = str(binding.get("HostIp") or "").strip("[]")
    if host_ip:
        try:
            host_ip = str(ipaddress.ip_address(host_ip))
        except ValueError:
            raise BadRequestError(
                f"invalid host IP {host_ip!r} for port {port}", "name an address of this machine, or none for all"
            ) from None
    first, _, last = str(binding.get("HostPort") or "0").partition("-")
    try:
        found = PortBinding(int(number), protocol, host_ip, int(first), int(last or 0))
    except ValueError:
        raise BadRequestError(f"invalid host port {binding.get('HostPort')!r} for port {port}") from None
    numbers = (found.container_port, found.host_port, found.host_port_last)
    if not all(0 <= one <= 65535 for one in numbers) or (last and found.host_port_last < found.host_port):
        raise BadRequestError(f"invalid host port {binding.get('HostPort')!r} for port {port}: ports are 1 to 65535")
    return replace(found, host_port_last=0) if found.host_port_last == found.host_port else found


def parse_bindings(bindings: Mapping[str, Any]) -> list[PortBinding]:
    """Return what HostConfig.PortBindings asks for."""
    return [parse_binding(port, one) for port, several in bindings.items() for one in several or [{}]]


@dataclass(frozen=True)
class ReservedPort:
    """A port that is ours: `binding` with its one port, and the bound sockets, each of one address family.

    Where the bridges are the host's own, no IPv4 traffic reaches `ipv4`: nftables turns it to the container before.
    The others are where a forwarder listens.
    """

    binding: PortBinding
    ipv4: socket.socket | None
    ipv6: socket.socket | None

    @property
    def by_family(self) -> list[PortBinding]:
        """The binding as users are shown it: one for each address family, as by Docker ("0.0.0.0" and "::")."""
        if self.binding.host_ip:
            return [self.binding]
        families = (("0.0.0.0", self.ipv4), ("::", self.ipv6))
        return [replace(self.binding, host_ip=address) for address, bound in families if bound is not None]

    def close(self) -> None:
        """Let go of the port."""
        for one in (self.ipv4, self.ipv6):
            if one is not None:
                one.close()


class _InUseError(ConflictError):
    """A program has the port; who, is still to be found out."""


FindHolder = Callable[[str, int], str]
"""Returns who has a port of the host, by protocol and number."""


Inherited = MutableMapping[str, socket.socket]
"""Sockets that are bound already, by `port_key`; one that is needed is taken out."""


def hold(
    binding: PortBinding,
    ours: Mapping[str, Sequence[PortBinding]],
    find_holder: FindHolder = socket_holder,
    inherited: Inherited | None = None,
) -> ReservedPort:
    """Bind the host's port, or the first free one of a range, so that no other program takes it.

    `ours` are the bindings that containers have, by name, and under "" those of the same request; `inherited` are
    sockets that an earlier engine bound.

    Raises ConflictError, naming the holder.
    """
    refusals: list[SkiffError] = []
    for port in binding.host_ports:
        one = replace(binding, host_port=port, host_port_last=0)
        try:
            _refuse_ours(one, ours)
            return _hold_chosen(one) if port == 0 else _hold_one(one, inherited)
        except _InUseError:
            refusals.append(
                ConflictError(
                    f"port {one} is already in use by {find_holder(one.protocol, one.host_port)}",
                    'stop it, or publish another port (ports: "HOST:CONTAINER")',
                )
            )
        except ConflictError as error:
            refusals.append(error)
    if len(refusals) == 1:
        raise refusals[0]
    raise ConflictError(
        f"no port of {binding} is free; the first: {refusals[0].message}", "widen the range, or stop who holds it"
    )


def _refuse_ours(binding: PortBinding, ours: Mapping[str, Sequence[PortBinding]]) -> None:
    for name, held in ours.items():
        if any(binding.meets(one) for one in held):
            if not name:
                raise ConflictError(f"port {binding} is asked for twice", "publish it once")
            raise ConflictError(
                f"port {binding} is already in use by container {name}", "stop that container, or publish another port"
            )


def _hold_chosen(binding: PortBinding) -> ReservedPort:
    """Hold a port that the kernel chooses; for both families the same."""
    for attempt in range(CHOICES):
        held = _hold_one(binding if not binding.is_ipv4 else replace(binding, host_ip=binding.host_ip or "0.0.0.0"))
        if binding.host_ip:
            return held
        chosen = replace(binding, host_port=held.binding.host_port)
        try:
            return ReservedPort(chosen, held.ipv4, _bind_ipv6_too(chosen))
        except ConflictError:
            held.close()
            if attempt == CHOICES - 1:
                raise
    raise AssertionError("unreachable")


def _hold_one(binding: PortBinding, inherited: Inherited | None = None) -> ReservedPort:
    ipv4 = _bind(binding, socket.AF_INET, binding.host_ip or "0.0.0.0", inherited) if binding.is_ipv4 else None
    try:
        ipv6 = None
        if binding.is_ipv6:
            if binding.host_ip:
                ipv6 = _bind(binding, socket.AF_INET6, binding.host_ip, inherited)
            else:
                ipv6 = _bind_ipv6_too(binding, inherited)
    except BaseException:
        if ipv4 is not None:
            ipv4.close()
        raise
    port = (ipv4 or ipv6).getsockname()[1]  # type: ignore[union-attr]
    return ReservedPort(replace(binding, host_port=port), ipv4, ipv6)


def _bind_ipv6_too(binding: PortBinding, inherited: Inherited | None = None) -> socket.socket | None:
    """Bind every IPv6 address, on a host that has IPv6."""
    try:
        return _bind(binding, socket.AF_INET6, "::", inherited)
    except BadRequestError:
        return None


def _bind(binding: PortBinding, family: int, address: str, inherited: Inherited | None = None) -> socket.socket:
    if inherited and (known := inherited.pop(port_key(binding.protocol, address, binding.host_port), None)) is not None:
        return known
    kind = KINDS[binding.protocol]
    try:
        held = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _refusal(binding, error) from error
    try:
        if kind == socket.SOCK_STREAM:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        held.bind((address, binding.host_port))
        if kind == socket.SOCK_STREAM:
            held.listen(128)
    except OSError as error:
        held.close()
        raise _refusal(binding, error) from error
    return held


def _refusal(binding: PortBinding, error: OSError) -> SkiffError:
    if error.errno == errno.EADDRINUSE:
        return _InUseError(f"port {binding} is already in use")
    if error.errno in (errno.EACCES, errno.EPERM):
        return ForbiddenError(
            f"port {binding} can't be bound: {error.strerror}",
            "low ports, below 1024 unless the machine says otherwise, need root: publish a higher one, or as root "
            f"`sysctl -w net.ipv4.ip_unprivileged_port_start={binding.host_port}`",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return BadRequestError(
            f"port {binding}: this machine has no address {binding.host_ip}", "publish on another host IP"
        )
    return BadRequestError(f"port {binding} can't be bound: {error.strerror}")
