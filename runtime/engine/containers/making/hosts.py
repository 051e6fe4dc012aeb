"""The files of name resolution inside a container. Pure, but for reading the machine's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BASE = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
HOST_GATEWAY = "host-gateway"


def host_names() -> list[str]:
    """Return the lines of the machine's own /etc/hosts."""
    try:
        return Path("/etc/hosts").read_text(errors="replace").splitlines()
    except OSError:
        return []


def hosts_file(
    own: Sequence[tuple[str, str]], extra: Sequence[str], gateway: str = "127.0.0.1", *, base: Sequence[str] = ()
) -> str:
    """Return /etc/hosts: the usual names, `extra` ("name:address", "name=address"), the container's `own` addresses.

    The lines `base` stand in for the usual names.
    """
    lines = [*base] or [f"{address}\t{names}" for address, names in BASE]
    for entry in extra:
        separator = "=" if "=" in entry else ":"
        name, _, address = entry.partition(separator)
        lines.append(f"{gateway if address == HOST_GATEWAY else address.strip('[]')}\t{name}")
    lines += [f"{address}\t{name}" for address, name in own]
    return "\n".join(lines) + "\n"


def resolv_conf(servers: Sequence[str], host: Mapping[str, Any], search: Sequence[str] = ()) -> str:
    """Return /etc/resolv.conf with `servers`, or those that HostConfig names, its search domains and options.

    Without search domains in HostConfig (one "." stands for none) it has those of the host, `search`.

    Our own resolver stays the one to ask: it is told itself whom HostConfig names, for what it does not know.
    """
    named = () if "127.0.0.11" in servers else host.get("Dns")
    lines = [f"nameserver {server}" for server in named or servers]
    domains = [domain for domain in host.get("DnsSearch") or search if domain != "."]
    if domains:
        lines.append("search " + " ".join(domains))
    options = list(host.get("DnsOptions") or ())
    if "127.0.0.11" in servers and not any(option.startswith("ndots") for option in options):
        options.append("ndots:0")
    if options:
        lines.append("options " + " ".join(options))
    return "\n".join(lines) + "\n"
