"""Programs that cannot be written to through who runs them."""

from __future__ import annotations

import os

from runtime.errors import KernelError
from runtime.linux import syscalls as linux


def unwritable(program: str) -> int | None:
    """Return a descriptor of `program` on a read-only mount that nobody can find; None where there can be none.

    A container's process that executes /proc/self/exe executes what its launcher runs, and could open that file for
    writing afterwards (CVE-2019-5736): on this mount it can't, whatever its rights.
    """
    mounted = -1
    try:
        mounted = linux.clone_mount(linux.AT_FDCWD, os.path.realpath(program), recursive=False)
        linux.set_mount(mounted, linux.MOUNT_ATTR_RDONLY, recursive=False)
    except KernelError:
        if mounted >= 0:
            os.close(mounted)
        return None
    return mounted
