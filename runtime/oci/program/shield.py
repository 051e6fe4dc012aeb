"""The program's entry point, which re-executes it from an interpreter that no container can write to.

A container may make us execute a link to /proc/self/exe, which is the host's interpreter, and as root open that for
writing once nobody runs it (CVE-2019-5736). So a process that enters a container runs from a detached read-only mount of
the interpreter, or from a sealed copy in memory.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence

from runtime.hints import NoReturn
from runtime.linux.unwritable import unwritable

ENTERING = {"create", "run", "exec"}
"""Commands that put a process into a container."""
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
CHUNK_BYTES = 1 << 24


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line `words`, by default sys.argv; never returns."""
    words = sys.argv[1:] if words is None else words
    _fill_streams()
    if not ENTERING.isdisjoint(words) and not is_shielded():
        interpreter = unwritable(sys.executable)
        if interpreter is None and os.access(sys.executable, os.W_OK):
            interpreter = _sealed(sys.executable)
        if interpreter is not None:
            # -I -S: neither the environment nor installed packages influence what runs as root
            os.execve(f"/proc/self/fd/{interpreter}", [sys.executable, "-I", "-S", PROGRAM, *words], os.environ)
    from runtime.oci.program.main import main as command

    command(words, enters=not ENTERING.isdisjoint(words))


def _fill_streams() -> None:
    """Open closed standard streams: otherwise the next file we open gets that number, and the container inherits it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def is_shielded() -> bool:
    """Whether the running interpreter is read-only."""
    if os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY:
        return True
    return os.readlink("/proc/self/exe").startswith("/memfd:")


def _sealed(path: str) -> int:
    """Return a descriptor of a sealed in-memory copy of `path`."""
    copy = os.memfd_create("skiff-oci", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(path, "rb") as file:
        while os.sendfile(copy, file.fileno(), None, CHUNK_BYTES):
            pass
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, SEALS)
    return copy
