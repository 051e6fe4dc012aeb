"""Overlay mounts of image layers (kernel Documentation/filesystems/overlayfs)."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from runtime.errors import KernelError
from runtime.linux import syscalls as linux
from runtime.linux import userns

LONGEST_VALUE = 255  # fsconfig(2): 256 bytes with the terminating 0
LONGEST_DATA = 4095  # mount(2): one page


def mount_overlay(target: str, options: Sequence[str]) -> None:
    """Mount an overlay at `target`; `options` are `lowerdir+=` (topmost first), `upperdir=`, `workdir=` and flags.

    With the new mount API layers are added one by one, without a limit on their number. Kernels before 6.7 know only
    `lowerdir`: there all layers go into one option, as /proc/self/fd paths, of which about 200 fit.

    In a user namespace "trusted." attributes can't be set, so overlayfs stores its marks as "user." ones (userxattr).
    """
    opened: list[int] = []
    if not userns.is_initial():
        options = [*options, "userxattr"]
    try:
        try:
            _mount_by_steps(target, options, opened)
        except KernelError as error:
            if error.errno != errno.EINVAL:
                raise
            _mount_at_once(target, options, opened)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _mount_by_steps(target: str, options: Sequence[str], opened: list[int]) -> None:
    context = linux.call("fsopen", b"overlay", linux.FSOPEN_CLOEXEC)
    try:
        for option in options:
            key, separator, value = option.partition("=")
            if separator:
                # the kernel treats a backslash as an escape
                if len(os.fsencode(value)) > LONGEST_VALUE or "\\" in value:
                    value = _by_descriptor(value, opened)
                linux.call("fsconfig", context, linux.FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)
            else:
                linux.call("fsconfig", context, linux.FSCONFIG_SET_FLAG, key.encode(), None, 0)
        linux.call("fsconfig", context, linux.FSCONFIG_CMD_CREATE, None, None, 0)
        mounted = linux.call("fsmount", context, linux.FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        # the target may be a /proc/self/fd path, which is a link
        flags = linux.MOVE_MOUNT_F_EMPTY_PATH | linux.MOVE_MOUNT_T_SYMLINKS
        linux.call("move_mount", mounted, b"", linux.AT_FDCWD, os.fsencode(target), flags)
    finally:
        os.close(mounted)


def _mount_at_once(target: str, options: Sequence[str], opened: list[int]) -> None:
    lower = ":".join(_by_descriptor(o.partition("=")[2], opened) for o in options if o.startswith("lowerdir+="))
    others = [
        f"{key}={_by_descriptor(value, opened)}" if separator else key
        for key, separator, value in (o.partition("=") for o in options if not o.startswith("lowerdir+="))
    ]
    data = ",".join([f"lowerdir={lower}", *others])
    if len(data) > LONGEST_DATA:
        hint = "before Linux 6.7 an image can have about 200 layers"
        raise KernelError("mount", ("overlay", target), errno.E2BIG, hint)
    linux.mount("overlay", target, "overlay", 0, data)


def _by_descriptor(path: str, opened: list[int]) -> str:
    opened.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
    return f"/proc/self/fd/{opened[-1]}"
