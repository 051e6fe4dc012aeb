"""Protection of a program's file from being overwritten through /proc/PID/exe."""

from __future__ import annotations

import os

from runtime.errors import KernelError
from runtime.linux import syscalls as linux


def unwritable(program: str) -> int | None:
    """Return a descriptor of `program` on a detached read-only mount; None if it can't be created.

    A container's process that executes /proc/self/exe runs the runtime's own program, and could open this file for
    writing afterwards (CVE-2019-5736). On a read-only mount it can't, whatever its privileges are.
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
