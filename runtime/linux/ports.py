"""Which process uses a port of this network namespace (proc(5), /proc/net/tcp)."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

LISTENING = "0A"


def holder(protocol: str, port: int) -> str:
    """Describe the process that uses a port: "process 123 (nginx)", "a process of user www" or "another process"."""
    sockets = _sockets(protocol, port)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in os.scandir(folder / "fd"):
                target = os.readlink(descriptor.path)
                if target.startswith("socket:[") and target[8:-1] in sockets:
                    return f"process {folder.name} ({(folder / 'comm').read_text().strip()})"
    for uid in sockets.values():
        with contextlib.suppress(KeyError):
            return f"a process of user {pwd.getpwuid(uid).pw_name}"
    return "another process"


def _sockets(protocol: str, port: int) -> dict[str, int]:
    """Return the sockets of a port: inodes to UIDs."""
    found = {}
    for version in ("", "6"):
        try:
            lines = Path(f"/proc/net/{protocol}{version}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and (protocol != "tcp" or fields[3] == LISTENING):
                found[fields[9]] = int(fields[7])
    return found
