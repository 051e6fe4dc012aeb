"""Socket activation and readiness notification: how a service manager and the engine talk to each other.

The protocols are systemd's (sd_listen_fds(3), sd_notify(3)); other service managers implement them, too.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

FIRST = 3
"""The first passed file descriptor (SD_LISTEN_FDS_START)."""


def take_listener(environ: MutableMapping[str, str]) -> int | None:
    """Return the descriptor of the listening socket that was passed to this process, and unset the variables.

    None if there is none, or if it was passed to another process. The descriptor is set to be closed on exec.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or count != "1":
        return None
    os.set_inheritable(FIRST, False)
    return FIRST


def give_listener(descriptor: int, environ: MutableMapping[str, str]) -> None:
    """Pass a listening socket to the program that this process executes next."""
    if descriptor == FIRST:
        os.set_inheritable(FIRST, True)
    else:
        os.dup2(descriptor, FIRST)
    environ["LISTEN_FDS"], environ["LISTEN_PID"] = "1", str(os.getpid())


def notify_ready(address: str | None) -> None:
    """Notify the service manager at `address` ($NOTIFY_SOCKET) that the engine accepts connections."""
    if not address:
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        try:
            link.connect(name)
            link.send(b"READY=1")
        except OSError as error:
            os.write(2, f"skiff engine: {address}: {error.strerror}: the service manager can't be notified\n".encode())
