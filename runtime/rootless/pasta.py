"""The way out of a user's network namespace: pasta(1), where it is installed."""

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
"""What it takes: why there is no way out without it, and the cure."""


def lack() -> tuple[str, str] | None:
    """Return why this user can have no way out, and the cure; None where nothing is missing."""
    if shutil.which("pasta") is None:
        return LACKS["pasta"]
    if not os.access(TUN, os.R_OK | os.W_OK):
        return LACKS[TUN]
    return None


class Pasta:
    """One pasta, in the foreground, for one network namespace; `record` is a file that names its process."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process, 0 without one."""
        return 0 if self._process is None else self._process.pid

    def start(self, namespaces: RootlessNamespaces) -> None:
        """Connect the namespace to the host's network: its addresses and routes as the host's, nothing forwarded in.

        Returns when the way out is there, or after a while without one.
        """
        self.end_earlier()
        with namespaces.occupied(_await_route) as occupant:
            # by a process in them: of all ways to name namespaces, Debian's AppArmor profile of passt allows this one
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
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._record.unlink(missing_ok=True)

    def forget(self) -> None:
        """Take note that its process was reaped."""
        self._process = None

    def end_earlier(self) -> None:
        """End one that outlived who started it."""
        with suppress(OSError, ValueError):
            pid, started = self._record.read_text().split()
            if _started(int(pid)) == started:  # else the number is another process's by now
                os.kill(int(pid), signal.SIGKILL)


def _started(pid: int) -> str:
    """Return when a process was started, as proc_pid_stat(5) has it; "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _await_route(told: Callable[[], None]) -> None:
    """Call `told`, then return when this namespace has a route, or after a while without one."""
    changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    changes.bind((0, RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE))
    told()
    while select.select([changes], (), (), START_TIMEOUT_S)[0]:
        changes.recv(65536)
        if any(route.range.version == 4 and not route.range.is_loopback for route in routes(Netlink())):
            return
