"""Published ports on the host: parsing bindings, and reserving ports by binding sockets."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

from runtime.bodies import PortBindingBody
from runtime.errors import BadRequestError, ConflictError, ForbiddenError, SkiffError
from runtime.linux.ports import holder as socket_holder
from runtime.network.forwarder.client import port_key

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
CHOICES = 16


@dataclass(frozen=True)
class PortBinding:
    """A container's port and where it is published on the host.

    `host_ip` "" means all addresses of the host, "0.0.0.0" all IPv4 and "::" all IPv6 addresses. `host_port` 0 lets the
    kernel choose; with `host_port_last` the two are a range of which one free port is used.
    """

    container_port: int
    protocol: str
    host_ip: str
    host_port: int
    host_port_last: int = 0

    @property
    def host_ports(self) -> range:
        """The acceptable host ports."""
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
        """Whether two bindings, each with one port, conflict: same port of the same address."""
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


def parse_binding(port: str, binding: PortBindingBody) -> PortBinding:
    """Parse an entry of HostConfig.PortBindings: `port` "80/tcp", `binding` with HostIp and HostPort.

    Raises BadRequestError.
    """
    number, _, protocol = port.partition("/")
    protocol = protocol or "tcp"
    if protocol not in KINDS:
        raise BadRequestError(
            f"port {port} can't be published: only tcp and udp are supported, not {protocol}",
            "omit the port: on its networks the container can be reached with any protocol",
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


def parse_bindings(bindings: Mapping[str, Sequence[PortBindingBody]]) -> list[PortBinding]:
    """Parse HostConfig.PortBindings. Raises BadRequestError."""
    return [parse_binding(port, one) for port, several in bindings.items() for one in several or [{}]]


@dataclass(frozen=True)
class ReservedPort:
    """A reserved host port: `binding` with one port, and the bound sockets for each address family.

    With root no IPv4 traffic reaches the socket `ipv4`, since nftables redirects it before. On the other sockets the
    forwarder listens.
    """

    binding: PortBinding
    ipv4: socket.socket | None
    ipv6: socket.socket | None

    @property
    def by_family(self) -> list[PortBinding]:
        """The binding as Docker shows it: one for each address family ("0.0.0.0" and "::")."""
        if self.binding.host_ip:
            return [self.binding]
        families = (("0.0.0.0", self.ipv4), ("::", self.ipv6))
        return [replace(self.binding, host_ip=address) for address, bound in families if bound is not None]

    def close(self) -> None:
        """Close the sockets."""
        for one in (self.ipv4, self.ipv6):
            if one is not None:
                one.close()


class PortTakenError(ConflictError):
    """A port that a container or a program has; `reason` is what Docker says of it."""

    def __init__(self, message: str, hint: str, reason: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


class _InUseError(ConflictError):
    """The port is in use; by which program is not known yet."""


FindHolder = Callable[[str, int], str]
"""Returns a description of the process that has a port of the host, by protocol and number."""


Inherited = MutableMapping[str, socket.socket]
"""Already bound sockets by `port_key`; a socket that is used is removed."""


def hold(
    binding: PortBinding,
    ours: Mapping[str, Sequence[PortBinding]],
    find_holder: FindHolder = socket_holder,
    inherited: Inherited | None = None,
) -> ReservedPort:
    """Reserve a host port, or the first free one of a range, by binding sockets to it.

    `ours` are the bindings of containers by name, and under "" those of the same request; `inherited` are sockets that an
    earlier engine has bound. Raises ConflictError with the process that has the port.
    """
    refusals: list[PortTakenError] = []
    for port in binding.host_ports:
        one = replace(binding, host_port=port, host_port_last=0)
        try:
            _refuse_ours(one, ours)
            return _hold_chosen(one) if port == 0 else _hold_one(one, inherited)
        except _InUseError:
            refusals.append(
                PortTakenError(
                    f"port {one} is already in use by {find_holder(one.protocol, one.host_port)}",
                    'stop it, or publish another port (ports: "HOST:CONTAINER")',
                    f"failed to bind host port for {one}: address already in use",
                )
            )
        except PortTakenError as error:
            refusals.append(error)
    if len(refusals) == 1:
        raise refusals[0]
    raise PortTakenError(
        f"no port of {binding} is free; the first: {refusals[0].message}",
        "widen the range, or stop the programs that use it",
        refusals[0].reason,
    )


def _refuse_ours(binding: PortBinding, ours: Mapping[str, Sequence[PortBinding]]) -> None:
    for name, held in ours.items():
        if any(binding.meets(one) for one in held):
            reason = f"Bind for {binding.host_ip or '0.0.0.0'}:{binding.host_port} failed: port is already allocated"
            if not name:
                raise PortTakenError(f"port {binding} is published twice", "publish it once", reason)
            raise PortTakenError(
                f"port {binding} is already in use by container {name}",
                "stop that container, or publish another port",
                reason,
            )


def _hold_chosen(binding: PortBinding) -> ReservedPort:
    """Reserve a port that the kernel chooses, the same for both families."""
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
    """Bind all IPv6 addresses; None if the host has no IPv6."""
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
            "ports below 1024 (by default) need root: publish a higher one, or as root "
            f"`sysctl -w net.ipv4.ip_unprivileged_port_start={binding.host_port}`",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return BadRequestError(
            f"failed to bind host port for {binding}: cannot assign requested address",
            f"this machine has no address {binding.host_ip}: publish on another host IP",
        )
    return BadRequestError(f"port {binding} can't be bound: {error.strerror}")
