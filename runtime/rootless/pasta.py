"""Connects the network namespace of an engine without root to the outside with pasta(1), if installed."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runtime.linux.netlink import Netlink
from runtime.linux.routes import routes
from runtime.rootless.namespaces import RootlessNamespaces

RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE = 0x40, 0x400  # <linux/rtnetlink.h>
START_TIMEOUT_S = 2.0
TUN = "/dev/net/tun"
LACKS = {
    "pasta": ("pasta is not installed", "`apt-get install passt`"),
    TUN: (f"{TUN} can't be opened by this user", f"`chmod 666 {TUN}` (udev does so), or `modprobe tun`"),
}
"""Requirement → (why there is no connection without it, the cure)."""


def lack() -> tuple[str, str] | None:
    """Return (reason, cure) if pasta can't be used, else None."""
    if shutil.which("pasta") is None:
        return LACKS["pasta"]
    if not os.access(TUN, os.R_OK | os.W_OK):
        return LACKS[TUN]
    return None


class Pasta:
    """A pasta process for one network namespace; `record` is a file with its PID and start time."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its PID, 0 if it is not running."""
        return 0 if self._process is None else self._process.pid

    def start(self, namespaces: RootlessNamespaces) -> None:
        """Start pasta: the namespace gets the host's addresses and routes, and no inbound connections.

        Return once it has a route, at the latest after START_TIMEOUT_S without changes.
        """
        self.end_earlier()
        with namespaces.occupied(_await_route) as occupant:
            # by /proc/<pid>/ns: Debian's AppArmor profile of passt allows no other way to name namespaces
            inside = [
                f"--{option}=/proc/{occupant}/ns/{kind}" for option, kind in (("userns", "user"), ("netns", "net"))
            ]
            closed = [f"--{option}=none" for option in ("tcp-ports", "udp-ports", "tcp-ns", "udp-ns")]
            self._process = subprocess.Popen(
                ["pasta", "--foreground", "--quiet", "--config-net", "--no-map-gw", *closed, *inside],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._record.write_text(f"{self.pid} {_started(self.pid)}\n")

    def end(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._record.unlink(missing_ok=True)

    def forget(self) -> None:
        """Called after its process was reaped."""
        self._process = None

    def end_earlier(self) -> None:
        """Kill a process of an earlier host-side process."""
        with suppress(OSError, ValueError):
            pid, started = self._record.read_text().split()
            if _started(int(pid)) == started:  # otherwise the PID was reused
                os.kill(int(pid), signal.SIGKILL)


def _started(pid: int) -> str:
    """Return the start time of a process (proc_pid_stat(5)), "" if it does not exist."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _await_route(report_ready: Callable[[], None]) -> None:
    """Call `report_ready`, then wait until this namespace has a route, or START_TIMEOUT_S passes without changes."""
    changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    changes.bind((0, RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE))
    report_ready()
    while select.select([changes], (), (), START_TIMEOUT_S)[0]:
        changes.recv(65536)
        if any(route.range.version == 4 and not route.range.is_loopback for route in routes(Netlink())):
            return
