"""A process's terminal: a pseudo-terminal of the container's own devpts (pts(4))."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct

from runtime.hints import TYPE_CHECKING
from runtime.linux import syscalls as linux
from runtime.oci.root import Root

if TYPE_CHECKING:
    from runtime.oci.types import OciConsoleSize, OciProcess

# <asm-generic/ioctls.h>; Python's termios lacks some, and would cost the keeper a third of a megabyte
TIOCSCTTY, TIOCSWINSZ, TIOCSPTLCK, TIOCGPTPEER = 0x540E, 0x5414, 0x40045431, 0x5441
PTMX = os.makedev(5, 2)


class ConsoleError(Exception):
    """The container has no usable pseudo-terminals."""


def open_console(ptmx: int, console: socket.socket, size: OciConsoleSize | None) -> int:
    """Set up the pseudo-terminal of an open /dev/ptmx, send its main side through `console`, return the other side."""
    about = os.fstat(ptmx)
    if not stat.S_ISCHR(about.st_mode) or about.st_rdev != PTMX:
        raise ConsoleError("/dev/ptmx is not a pseudo-terminal multiplexer")
    fcntl.ioctl(ptmx, TIOCSPTLCK, struct.pack("i", 0))
    # TIOCGPTPEER, not the path: the container controls what is at /dev/pts
    side = fcntl.ioctl(ptmx, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if size and size.get("height"):
        fcntl.ioctl(ptmx, TIOCSWINSZ, struct.pack("4H", size["height"], size["width"], 0, 0))
    socket.send_fds(console, [b"c"], [ptmx])
    os.close(ptmx)
    return side


def console_of(root: Root, console: socket.socket, process: OciProcess) -> int:
    """Create the terminal of a new container and mount it at /dev/console; return the process's side."""
    ptmx = root.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    side = open_console(ptmx, console, process.get("consoleSize"))
    target = root.provide("/dev/console", False)
    same = linux.clone_mount(side, "", recursive=False)
    linux.attach_mount(same, target)
    os.close(same)
    os.close(target)
    return side


def control(side: int) -> None:
    """Make `side` the standard streams and the controlling terminal of the calling session leader."""
    for target in range(3):
        os.dup2(side, target, inheritable=True)
    fcntl.ioctl(0, TIOCSCTTY, 0)
