"""The user's terminal on a process in a container: raw bytes both ways, its size followed."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from runtime.client.blocking import Stream
from runtime.http.codec import Frames

READ_BYTES = 1 << 16


@contextmanager
def raw_terminal(resize: Callable[[int, int], None] | None) -> Iterator[None]:
    """Give the terminal's keys through unread, and tell `resize(rows, columns)` its size, now and when it changes."""
    if resize is None or not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    def tell(*_: object) -> None:
        columns, rows = os.get_terminal_size(sys.stdin.fileno())
        with suppress(Exception):  # the process may be gone: its size does not matter any more
            resize(rows, columns)

    before = termios.tcgetattr(sys.stdin)
    handler = signal.signal(signal.SIGWINCH, tell)
    try:
        tty.setraw(sys.stdin.fileno())
        tell()
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)


@contextmanager
def signals_to(kill: Callable[[int], None]) -> Iterator[None]:
    """Pass signals to end on to the process in the container: `kill(number)`."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

    def pass_on(number: int, _: object) -> None:
        with suppress(Exception):  # the process may be gone, or not be there yet
            kill(number)

    before = {number: signal.signal(number, pass_on) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exchange(stream: Stream, *, takes_input: bool) -> None:
    """Carry standard input in and output out until the process's output ends."""
    connection = stream.socket
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    stdin = sys.stdin.fileno() if takes_input else -1
    if takes_input:
        poller.register(stdin, select.POLLIN)
    frames = Frames() if stream.is_multiplexed else None
    _write(frames, stream.rest)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == stdin:
                data = os.read(stdin, READ_BYTES)
                if data:
                    connection.sendall(data)
                else:
                    poller.unregister(stdin)
                    connection.shutdown(1)
            else:
                data = connection.recv(READ_BYTES)
                if not data:
                    return
                _write(frames, data)


def _write(frames: Frames | None, data: bytes) -> None:
    pieces = frames.feed(data) if frames is not None else iter(((1, data),))
    for number, piece in pieces:
        out = sys.stderr.buffer if number == 2 else sys.stdout.buffer
        out.write(piece)
        out.flush()
