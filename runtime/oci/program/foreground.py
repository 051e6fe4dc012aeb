"""Somebody waits for a process: its terminal is shown on ours, signals are handed on, its exit code is ours."""

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
"""What is ours to take, or can't be taken."""
CHUNK_BYTES = 1 << 16
TIOCGWINSZ, TIOCSWINSZ = 0x5413, 0x5414  # <asm-generic/ioctls.h>


class Foreground:
    """The wait for one process; `console` is where a process with a terminal sends it."""

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
        """Receive the process's terminal, give it our size, and let ours hand on every key."""
        if self._ours is None or self.console is None:
            return
        self.console.close()
        _, descriptors, _, _ = socket.recv_fds(self._ours, 256, 1)
        self._ours.close()
        if not descriptors:
            raise ProgramError("the process sent no terminal")
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
        """Serve the process until it has ended; returns its exit code, 128 and the number for a signal."""
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
        """Copy what the terminal has to say; False once nobody has its other end, or it has nothing now."""
        try:
            data = os.read(self._terminal, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the last process closed it
            data = b""
        shown = data
        with contextlib.suppress(OSError):  # nobody looks any more: the process goes on all the same
            while shown:
                shown = shown[os.write(1, shown) :]
        return bool(data)

    def _type(self) -> bool:
        """Copy what was typed; False once there is no more."""
        data = os.read(0, CHUNK_BYTES)
        if not data:
            with contextlib.suppress(OSError):
                os.write(self._terminal, b"\x04")  # end of file, as a terminal says it
            return False
        with contextlib.suppress(OSError):
            os.write(self._terminal, data)
        return True


def _reap_all_but(pid: int) -> None:
    """Reap what came to us as an orphan; who waits for `pid` wants to know how that ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != pid:
            os.waitpid(ended.si_pid, 0)


def _exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
