"""Keys of `up` in the foreground: `d` leaves the stack running, `w` begins or ends watching.

Their names stay in the terminal's last line, as docker compose has them: all other output scrolls above it, since the
terminal's scrolling region (DECSTBM of the VT100) ends one line before. Each change is one write(2), which begins by saving
the cursor and ends by putting it back, so output of other threads comes before it or after it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.stack.attached import AttachedUp

SAVE, RESTORE, CLEAR_LINE = "\x1b7", "\x1b8", "\x1b[2K"
FEWEST_LINES = 4
"""Lines of a terminal below which none is taken from the output."""


class Menu:
    """What the keys do, in the last line of the terminal `descriptor`; printed once if it has no use for `escapes`."""

    def __init__(self, descriptor: int, *, escapes: bool) -> None:
        self._descriptor, self._escapes = descriptor, escapes
        self._is_watching = False
        self._is_shown = False

    def show(self) -> None:
        """Show the line."""
        lines = os.get_terminal_size(self._descriptor).lines
        if not self._escapes or lines < FEWEST_LINES:
            if not self._is_shown:
                self._write(f"{self._text()}\n")
        else:
            # a new line makes sure that the cursor is not in the last one
            room = "" if self._is_shown else "\n\x1b[1A"
            self._write(f"{room}{SAVE}\x1b[1;{lines - 1}r{self._line(lines)}{RESTORE}")
        self._is_shown = True

    def hide(self) -> None:
        """Give the line back to the output."""
        if self._is_shown and self._escapes:
            lines = os.get_terminal_size(self._descriptor).lines
            self._write(f"{SAVE}\x1b[r\x1b[{lines};1H{CLEAR_LINE}{RESTORE}")
        self._is_shown = False

    def redraw(self, *_: object) -> None:
        """Show the line again, if it is shown: the terminal has another size (SIGWINCH), or the text has changed."""
        if self._is_shown and self._escapes:
            self.show()

    def set_watching(self, is_watching: bool) -> None:
        """Show whether files are watched."""
        self._is_watching = is_watching
        self.redraw()

    def _line(self, lines: int) -> str:
        return f"\x1b[{lines};1H{CLEAR_LINE}{self._text()}"

    def _text(self) -> str:
        keys = {"w": "Disable Watch" if self._is_watching else "Enable Watch", "d": "Detach"}
        if not self._escapes:
            return "   ".join(f"{key} {what}" for key, what in keys.items())
        return "   ".join(f"\x1b[1;7m{key}\x1b[0m\x1b[2m {what}\x1b[0m" for key, what in keys.items())

    def _write(self, text: str) -> None:
        # not print: a signal may have come in the midst of another write to the same buffer
        os.write(self._descriptor, text.encode())


@contextmanager
def keys_of(attached: AttachedUp, menu: Menu) -> Iterator[None]:
    """Inside the block, what is typed at the terminal is for the stack, and `menu` is shown. Ctrl-C is a signal as ever."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    handler = signal.signal(signal.SIGWINCH, menu.redraw)
    tty.setcbreak(sys.stdin.fileno())
    menu.show()
    threading.Thread(target=_listen, args=(attached, menu), daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, handler)
        menu.hide()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _listen(attached: AttachedUp, menu: Menu) -> None:
    while key := os.read(sys.stdin.fileno(), 1):
        if key == b"d":
            attached.detach()
            return
        if key == b"w":
            try:
                menu.set_watching(attached.toggle_watch())
            except SkiffError as error:
                print(error, file=sys.stderr, flush=True)
        elif key == b"\n":
            print(file=sys.stderr, flush=True)
