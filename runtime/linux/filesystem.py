"""New filesystems by the mount API: fsopen(2), fsconfig(2), fsmount(2).

A mount is made detached, as a descriptor, and attached when it is complete: nobody can exchange a path in between.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable

from runtime.errors import KernelError
from runtime.linux import syscalls as linux

LONGEST_VALUE = 255  # fsconfig(2): 256 bytes with the terminating 0
LONGEST_LOG = 4096
CURES = {
    errno.ENOTBLK: "the source must be a block device",
    errno.EBUSY: "the device, or the overlay's upper or work directory, is mounted elsewhere",
}

Option = tuple[str, str | None]
"""A filesystem's parameter and its value, None for a flag."""


def new_filesystem(kind: str, options: Iterable[Option], attributes: int = 0) -> int:
    """Return the descriptor of a detached mount of a new filesystem of type `kind`.

    `options` are set in order, with "source" among them; `attributes` are MOUNT_ATTR_ flags. A KernelError has the
    reason that the kernel gives as its hint.
    """
    context = linux.call("fsopen", kind.encode(), linux.FSOPEN_CLOEXEC)
    try:
        try:
            for key, value in options:
                _set(context, key, value)
            linux.call("fsconfig", context, linux.FSCONFIG_CMD_CREATE, None, None, 0)
            return linux.call("fsmount", context, linux.FSMOUNT_CLOEXEC, attributes)
        except KernelError as error:
            shown = error.arguments[2:4] if error.syscall == "fsconfig" and error.arguments[2] else ("create",)
            hint = "; ".join(filter(None, (_said(context), CURES.get(error.errno))))
            raise KernelError(
                error.syscall, (kind, *(one for one in shown if one is not None)), error.errno, hint or None
            ) from error
    finally:
        os.close(context)


def _set(context: int, key: str, value: str | None) -> None:
    if value is None:
        linux.call("fsconfig", context, linux.FSCONFIG_SET_FLAG, key.encode(), None, 0)
    else:
        # quotes keep a label's commas together in mount(2) alone
        text = value.strip('"') if key.endswith("context") else value
        linux.call("fsconfig", context, linux.FSCONFIG_SET_STRING, key.encode(), os.fsencode(text), 0)


def _said(context: int) -> str:
    """Return what the kernel says about the failure: messages that start with their level and a space ("e ")."""
    lines = []
    # ENODATA after the last one
    with contextlib.suppress(OSError):
        while line := os.read(context, LONGEST_LOG):
            lines.append(line.decode(errors="replace").strip()[2:])
    return "; ".join(lines)


def short(path: str, opened: list[int]) -> str:
    """Return `path` as fsconfig(2) takes it: without the backslash that escapes there, and not too long."""
    return by_descriptor(path, opened) if len(os.fsencode(path)) > LONGEST_VALUE or "\\" in path else path


def by_descriptor(path: str, opened: list[int]) -> str:
    """Return a path of a few letters that leads to `path` by a descriptor, which is added to `opened`. Raises OSError."""
    opened.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
    return f"/proc/self/fd/{opened[-1]}"
