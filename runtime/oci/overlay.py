"""Overlay mounts: of image layers, and as an entry of a document (kernel Documentation/filesystems/overlayfs)."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from runtime.errors import KernelError
from runtime.linux import syscalls as linux
from runtime.linux import userns
from runtime.linux.filesystem import Option, by_descriptor, new_filesystem, short

LONGEST_DATA = 4095  # mount(2): one page
LAYER, DATA_LAYER = "lowerdir+", "datadir+"
DIRECTORIES = (LAYER, DATA_LAYER, "upperdir", "workdir")


def mount_overlay(target: str, options: Sequence[str]) -> None:
    """Mount an overlay at `target`; `options` are the directories and flags of overlayfs, layers topmost first.

    With the new mount API layers are added one by one, without a limit on their number. Kernels before 6.7 know only
    `lowerdir`: there all layers go into one option, as /proc/self/fd paths, of which about 200 fit.
    """
    try:
        mounted = open_overlay(options)
    except KernelError as error:
        mount_overlay_otherwise(error, target, options)
        return
    try:
        # the target may be a /proc/self/fd path, which is a link
        flags = linux.MOVE_MOUNT_F_EMPTY_PATH | linux.MOVE_MOUNT_T_SYMLINKS
        linux.call("move_mount", mounted, b"", linux.AT_FDCWD, os.fsencode(target), flags)
    finally:
        os.close(mounted)


def open_overlay(options: Sequence[str]) -> int:
    """Return the descriptor of a detached overlay, see `mount_overlay`. Raises KernelError, EINVAL before Linux 6.7."""
    opened: list[int] = []
    try:
        return new_filesystem(
            "overlay",
            [
                (key, short(value, opened) if value is not None and key in DIRECTORIES else value)
                for key, value in parameters(options)
            ],
        )
    finally:
        for descriptor in opened:
            os.close(descriptor)


def mount_overlay_otherwise(error: KernelError, target: str, options: Sequence[str], flags: int = 0) -> None:
    """Mount an overlay at `target` by mount(2), as kernels before 6.7 need it, after `error` of `open_overlay`."""
    if error.errno != errno.EINVAL:
        raise error
    try:
        _mount_at_once(target, options, flags)
    except KernelError as second:
        # the first has the reason that the kernel gave
        raise (error if second.errno == errno.EINVAL else second) from error


def _mount_at_once(target: str, options: Sequence[str], flags: int) -> None:
    opened: list[int] = []
    layers, others = [], []
    try:
        for key, value in parameters(options):
            if key == "source":  # before Linux 6.5 overlayfs parses the data itself, and does not know it
                continue
            if value is None:
                others.append(key)
            elif key == LAYER:
                layers.append(by_descriptor(value, opened))
            elif key == DATA_LAYER:
                layers.append(":" + by_descriptor(value, opened))
            else:
                others.append(f"{key}={by_descriptor(value, opened) if key in DIRECTORIES else value}")
        data = ",".join([f"lowerdir={':'.join(layers)}", *others])
        if len(data) > LONGEST_DATA:
            hint = "before Linux 6.7 an image can have about 200 layers"
            raise KernelError("mount", ("overlay", target), errno.E2BIG, hint)
        linux.mount("overlay", target, "overlay", flags, data)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def parameters(options: Sequence[str]) -> list[Option]:
    """Return the parameters for fsconfig(2); `lowerdir=a:b::c` is taken apart into layers and data-only layers.

    With `lowerdir=`, paths are escaped as for mount(2). In a user namespace "trusted." attributes can't be set, so
    overlayfs stores its marks as "user." ones (userxattr).
    """
    found: list[Option] = [("source", "overlay")]
    is_escaped = any(option.startswith("lowerdir=") for option in options)
    for option in options:
        key, separator, value = option.partition("=")
        if not separator:
            found.append((key, None))
        elif key == "lowerdir":
            found += _layers(value)
        elif key in ("upperdir", "workdir") and is_escaped:
            found.append((key, "".join(letter for letter, _ in _letters(value))))
        else:
            found.append((key, value))
    if not userns.is_initial() and ("userxattr", None) not in found:
        found.append(("userxattr", None))
    return found


def _layers(value: str) -> list[Option]:
    """Parse `lowerdir`: layers are separated by ":", those after "::" have only data."""
    found: list[Option] = []
    key, path = LAYER, ""
    for letter, is_escaped in [*_letters(value), (":", False)]:
        if letter != ":" or is_escaped:
            path += letter
        elif path:
            found.append((key, path))
            path = ""
        else:
            key = DATA_LAYER
    return found


def _letters(value: str) -> list[tuple[str, bool]]:
    """Return the letters of an escaped path, each with whether a backslash was before it."""
    found, is_escaped = [], False
    for letter in value:
        if letter == "\\" and not is_escaped:
            is_escaped = True
        else:
            found.append((letter, is_escaped))
            is_escaped = False
    return found
