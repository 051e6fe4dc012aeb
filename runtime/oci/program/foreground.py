"""Running a process in the foreground: copies between its terminal and ours, forwards signals, returns its exit code."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import signal
import socket

from runtime.hints import Any
from runtime.linux import syscalls as linux
from runtime.oci.program.errors import ProgramError

OWN_SIGNALS = {signal.SIGURG, signal.SIGKILL, signal.SIGSTOP}
"""Signals that are not forwarded: the program's own, and those that can't be caught."""
CHUNK_BYTES = 1 << 16
TIOCGWINSZ, TIOCSWINSZ = 0x5413, 0x5414  # <asm-generic/ioctls.h>


class Foreground:
    """Waits for one process; a process with a terminal sends that to the socket `console`."""

    def __init__(self, has_terminal: bool, *, reaps: bool) -> None:
        self._reaps = reaps
        self.console: socket.socket | None = None
        self._ours: socket.socket | None = None
        self._terminal = -1
        self._settings: list[Any] | None = None
        if has_terminal:
            self._ours, self.console = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._signals, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> Foreground:
        if self._reaps:
            linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        for number in signal.valid_signals() - OWN_SIGNALS:
            with contextlib.suppress(OSError):
                signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._settings is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._settings)
        signal.set_wakeup_fd(-1)

    def take_terminal(self) -> None:
        """Receive the process's terminal, set its size to that of ours, and set ours to raw mode."""
        if self._ours is None or self.console is None:
            return
        self.console.close()
        _, descriptors, _, _ = socket.recv_fds(self._ours, 256, 1)
        self._ours.close()
        if not descriptors:
            raise ProgramError("the process has not sent its terminal")
        self._terminal = descriptors[0]
        os.set_blocking(self._terminal, False)
        if os.isatty(0):
            import termios
            import tty

            self._resize()
            self._settings = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)

    def _resize(self) -> None:
        size = array.array("H", [0, 0, 0, 0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(0, TIOCGWINSZ, size)
            if size[0]:
                fcntl.ioctl(self._terminal, TIOCSWINSZ, size)

    def wait(self, pid: int, pidfd: int) -> int:
        """Copy and forward until the process has exited; return its exit code, 128 + the number of a signal."""
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(self._signals, select.POLLIN)
        if self._terminal >= 0:
            poll.register(self._terminal, select.POLLIN)
            poll.register(0, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._signals in ready:
                for number in os.read(self._signals, 4096):
                    self._hand_on(number, pid, pidfd)
            if self._terminal in ready and not self._show():
                poll.unregister(self._terminal)
            if 0 in ready and not self._type():
                poll.unregister(0)
            if pidfd in ready:
                break
        while self._terminal >= 0 and self._show():
            pass
        return _exit_code(os.waitpid(pid, 0)[1])

    def _hand_on(self, number: int, pid: int, pidfd: int) -> None:
        if number == signal.SIGWINCH and self._terminal >= 0:
            self._resize()
        elif number == signal.SIGCHLD:
            _reap_all_but(pid)
        else:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)

    def _show(self) -> bool:
        """Copy output of the terminal to stdout; return False if there is none now, or after its end."""
        try:
            data = os.read(self._terminal, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the last process closed it
            data = b""
        shown = data
        with contextlib.suppress(OSError):  # our stdout is closed: the process still runs on
            while shown:
                shown = shown[os.write(1, shown) :]
        return bool(data)

    def _type(self) -> bool:
        """Copy stdin to the terminal; return False at its end."""
        data = os.read(0, CHUNK_BYTES)
        if not data:
            with contextlib.suppress(OSError):
                os.write(self._terminal, b"\x04")  # ^D: EOF, to a program that reads the terminal by lines
            return False
        with contextlib.suppress(OSError):
            os.write(self._terminal, data)
        return True


def _reap_all_but(pid: int) -> None:
    """Reap orphans that were re-parented to us, but not `pid`, whose status `wait` needs."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != pid:
            os.waitpid(ended.si_pid, 0)


def _exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
