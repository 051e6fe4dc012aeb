"""Keys of `up` in the foreground: `d` leaves the stack running, `w` begins or ends watching."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.stack.attached import AttachedUp

KEYS = "d Detach   w Watch on or off"


@contextmanager
def keys_of(attached: AttachedUp) -> Iterator[None]:
    """Inside the block, what is typed at the terminal is for the stack. Ctrl-C is a signal as ever."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin.fileno())
    print(KEYS, file=sys.stderr, flush=True)
    threading.Thread(target=_listen, args=(attached,), daemon=True).start()
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _listen(attached: AttachedUp) -> None:
    while key := os.read(sys.stdin.fileno(), 1):
        if key == b"d":
            attached.detach()
            return
        if key == b"w":
            try:
                attached.toggle_watch()
            except SkiffError as error:
                print(error, file=sys.stderr, flush=True)
        elif key == b"\n":
            print(file=sys.stderr, flush=True)
