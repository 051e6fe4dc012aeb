"""The user's terminal: questions, and the streams of a process in a container, its size followed."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compose.stack.console import Resize
    from compose.stack.context import Question
    from runtime.client.blocking import ResponseStream
    from runtime.http.codec import StreamFrames

READ_BYTES = 1 << 16


def ask(question: Question) -> bool:
    """Return the user's answer to `question`. Raises UnansweredError when nobody is there to answer.

    At a terminal only yes, no or nothing, which means no, is an answer; the question comes again after others.
    """
    if question.details:
        print(question.details, file=sys.stderr)
    is_there = bool(sys.stdin) and sys.stdin.isatty()
    while True:
        print(f"{question.text} [y/N]: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline() if sys.stdin else ""
        if not is_there or not line:
            print(file=sys.stderr)
        if not line and not question.is_optional:
            from compose.stack.context import UnansweredError

            raise UnansweredError
        answer = line.strip().lower()
        if not is_there or answer in ("", "y", "yes", "n", "no"):
            return answer in ("y", "yes")


def has_terminal() -> bool:
    """Whether standard input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class TerminalConsole:
    """The user's terminal, or whatever standard input, output and error are, as the console of a process."""

    def converse(self, stream: ResponseStream, *, takes_input: bool, resize: Resize | None) -> None:
        """Carry standard input (if `takes_input`) and output until the process's output ends."""
        with raw_terminal(resize):
            exchange(stream, takes_input=takes_input)

    @contextmanager
    def signals_to(self, kill: Callable[[str], None]) -> Iterator[None]:
        """Inside the block, pass signals that would end us on to the process: `kill("SIGTERM")`."""
        wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

        def pass_on(number: int, _: object) -> None:
            with suppress(Exception):  # the process may be gone, or not started
                kill(signal.Signals(number).name)

        before = {number: signal.signal(number, pass_on) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def raw_terminal(resize: Callable[[int, int], None] | None) -> Iterator[None]:
    """Put the terminal into raw mode, and call `resize(rows, columns)` now and whenever its size changes."""
    if resize is None or not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    def follow_size(*_: object) -> None:
        columns, rows = os.get_terminal_size(sys.stdin.fileno())
        with suppress(Exception):  # the process may be gone: its terminal's size no longer matters
            resize(rows, columns)

    before = termios.tcgetattr(sys.stdin)
    handler = signal.signal(signal.SIGWINCH, follow_size)
    try:
        tty.setraw(sys.stdin.fileno())
        follow_size()
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)


def exchange(stream: ResponseStream, *, takes_input: bool) -> None:
    """Carry standard input in and output out until the process's output ends."""
    from runtime.http.codec import StreamFrames

    connection = stream.socket
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    stdin = sys.stdin.fileno() if takes_input else -1
    if takes_input:
        poller.register(stdin, select.POLLIN)
    frames = StreamFrames() if stream.is_multiplexed else None
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


def _write(frames: StreamFrames | None, data: bytes) -> None:
    pieces = frames.feed(data) if frames is not None else iter(((1, data),))
    for number, piece in pieces:
        out = sys.stderr.buffer if number == 2 else sys.stdout.buffer
        out.write(piece)
        out.flush()
