"""Parses signals, and sets the size of terminals."""

from __future__ import annotations

import fcntl
import signal
import struct
import termios

from runtime.errors import BadRequestError

LARGEST_SIDE = (1 << 16) - 1


def signal_number(name: str) -> int:
    """Return the number of a signal by name ("SIGTERM", "TERM", "SIGRTMIN+3") or number. Raises BadRequestError."""
    text = str(name).upper()
    if text.isascii() and text.isdigit() and int(text):
        if int(text) > signal.SIGRTMAX:
            raise BadRequestError(f"the linux daemon does not support signal {text}")
        return int(text)
    full = text if text.startswith("SIG") else f"SIG{text}"
    for base, direction in (("SIGRTMIN+", 1), ("SIGRTMAX-", -1)):
        offset = full.removeprefix(base)
        if full.startswith(base) and offset.isascii() and offset.isdigit():
            number = int(signal.SIGRTMIN if direction > 0 else signal.SIGRTMAX) + direction * int(offset)
            if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
                return number
    try:
        return int(signal.Signals[full])
    except KeyError:
        raise BadRequestError(f"invalid signal: {name}") from None


def signal_text(number: int) -> str:
    """Return the name of a signal: "SIGTERM", "SIGRTMIN+3"."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number > signal.SIGRTMIN else f"signal {number}"


def resize_console(console: int, height: int, width: int) -> None:
    """Set a terminal's size in rows and columns. Raises BadRequestError on an impossible size."""
    if not (0 <= height <= LARGEST_SIDE and 0 <= width <= LARGEST_SIDE):
        raise BadRequestError(f"invalid terminal size: {height} rows, {width} columns")
    fcntl.ioctl(console, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))
