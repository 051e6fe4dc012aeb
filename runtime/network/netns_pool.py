"""A network namespace created in advance for the next container, since creating one takes about a millisecond."""

from __future__ import annotations

import anyio
import anyio.abc

from runtime.linux import netns, userns
from runtime.linux.netlink import Netlink, write_sysctl
from runtime.network.namespace_thread import NamespaceThread


class NetnsPool:
    """Keeps at most one namespace, which is not pinned, so the kernel frees it with this process."""

    def __init__(self, worker: NamespaceThread, group: anyio.abc.TaskGroup) -> None:
        self._worker = worker
        self._group = group
        self._spare = -1
        self._is_under_way = False

    async def take(self) -> int:
        """Return a descriptor of a new namespace with lo up; the caller closes it."""
        spare, self._spare = self._spare, -1
        return spare if spare >= 0 else await self._worker.run(_make)

    def refill(self) -> None:
        """Create a namespace in the background, if there is none."""
        if self._spare < 0 and not self._is_under_way:
            self._is_under_way = True
            self._group.start_soon(self._make_one)

    async def _make_one(self) -> None:
        try:
            self._spare = await self._worker.run(_make)
        finally:
            self._is_under_way = False


def _make() -> int:
    return netns.make(_set_up)


def _set_up() -> None:
    link = Netlink()
    try:
        link.up(1)
    finally:
        link.close()
    write_sysctl("net/ipv4/ip_unprivileged_port_start", "0")
    write_sysctl("net/ipv4/ping_group_range", f"0\t{userns.highest_group()}")
