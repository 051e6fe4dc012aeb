"""Where the program begins: in an interpreter that no container can write to.

What a container executes may be a link to /proc/self/exe, which is then the host's interpreter: who runs it as root could
open it for writing once nobody else runs it (CVE-2019-5736). So whatever enters a container runs from a read-only mount
that nobody can find, or from a sealed copy in memory.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence

from runtime.hints import NoReturn
from runtime.linux.unwritable import unwritable

ENTERING = {"create", "run", "exec"}
"""Commands that fork what becomes a container's process."""
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
CHUNK_BYTES = 1 << 24


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line `words`, by default the process's own; never returns."""
    words = sys.argv[1:] if words is None else words
    _fill_streams()
    if not ENTERING.isdisjoint(words) and not is_shielded():
        interpreter = unwritable(sys.executable)
        if interpreter is None and os.access(sys.executable, os.W_OK):
            interpreter = _sealed(sys.executable)
        if interpreter is not None:
            # -I -S: nothing of the environment, and no package, has a say in what runs as root
            os.execve(f"/proc/self/fd/{interpreter}", [sys.executable, "-I", "-S", PROGRAM, *words], os.environ)
    from runtime.oci.program.main import main as command

    command(words, enters=not ENTERING.isdisjoint(words))


def _fill_streams() -> None:
    """Have all three standard streams open: else a file of ours takes the place of one, and goes into the container."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def is_shielded() -> bool:
    """Whether the interpreter that runs can't be written by who reaches it."""
    if os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY:
        return True
    return os.readlink("/proc/self/exe").startswith("/memfd:")


def _sealed(path: str) -> int:
    """Return a descriptor of a copy of `path` that nothing can change any more."""
    copy = os.memfd_create("skiff-oci", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(path, "rb") as file:
        while os.sendfile(copy, file.fileno(), None, CHUNK_BYTES):
            pass
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, SEALS)
    return copy
