"""A real pseudo-terminal with a skiff command on it, and the screen that its user would see (pyte draws it)."""

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time

import pyte

from tests.conftest import SKIFF


class Terminal:
    """Runs one command on a pty of `columns` × `rows`; `feed` processes what it writes."""

    def __init__(self, command, *, columns=80, rows=24, **options):
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.master, slave = os.openpty()
        self.resize(columns, rows)
        self.written = b""
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # as a shell on a terminal has it, also where these tests run in the background of a script
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            **options,
        )
        os.close(slave)

    @classmethod
    def of(cls, project, *arguments, environment=None, **options):
        """Run skiff with `arguments` in the project's folder."""
        env = {**project.home.env, "TERM": "xterm-256color", **(environment or {})}
        return cls([*SKIFF, *arguments], cwd=project.folder, env=env, **options)

    def resize(self, columns, rows):
        """Change the terminal's size, as a window manager does."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def type(self, text):
        """Press keys."""
        os.write(self.master, text.encode())

    def feed(self, within_s=30.0):
        """Read what came next; False at the end of the command's output."""
        assert select.select([self.master], [], [], within_s)[0], f"nothing was written:\n{self.text}"
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:  # EIO: no process has the terminal open
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)

    def until(self, holds, within_s=30.0):
        """Read output until `holds(text of the screen)`."""
        deadline = time.monotonic() + within_s
        while not holds(self.text):
            assert self.feed(), f"the command ended before:\n{self.text}"
            assert time.monotonic() < deadline, self.text

    def end(self):
        """Read everything, wait for the command's end and return its exit code."""
        try:
            while self.feed():
                pass
            return self.process.wait(30)
        finally:
            os.close(self.master)

    def kill(self):
        """End the command, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def lines(self):
        """The screen's lines without what is blank at their ends."""
        return [line.rstrip() for line in self.screen.display if line.strip()]

    @property
    def text(self):
        """The screen as one text."""
        return "\n".join(self.lines)

    @property
    def has_cursor(self):
        """Whether the cursor is shown."""
        return not self.screen.cursor.hidden
