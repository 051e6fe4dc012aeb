"""The way out of a user's network namespace: pasta(1), where it is installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from runtime.rootless.namespaces import Namespaces

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

    def start(self, namespaces: Namespaces) -> None:
        """Connect the namespace to the host's network: its addresses and routes as the host's, nothing forwarded in."""
        self.end_earlier()
        inherited = (namespaces.user, namespaces.net)
        user, net = (f"/proc/self/fd/{descriptor}" for descriptor in inherited)
        command = ["pasta", "--foreground", "--quiet", "--config-net", "--no-map-gw", "--pid", str(self._record)]
        for option in ("--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns"):
            command += [option, "none"]
        self._process = subprocess.Popen(
            [*command, "--userns", user, "--netns", net],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=inherited,
        )

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
            pid = int(self._record.read_text())
            # the number may be another process's by now: ours has the record's name among its arguments
            if str(self._record).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
