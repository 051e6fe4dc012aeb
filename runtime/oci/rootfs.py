"""The container's view of files: its root, mounts, devices, masked and read-only paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from runtime.errors import KernelError
from runtime.hints import Any
from runtime.linux import syscalls as linux

FLAGS = {
    "ro": (linux.MS_RDONLY, True), "rw": (linux.MS_RDONLY, False),
    "nosuid": (linux.MS_NOSUID, True), "suid": (linux.MS_NOSUID, False),
    "nodev": (linux.MS_NODEV, True), "dev": (linux.MS_NODEV, False),
    "noexec": (linux.MS_NOEXEC, True), "exec": (linux.MS_NOEXEC, False),
    "sync": (linux.MS_SYNCHRONOUS, True), "noatime": (linux.MS_NOATIME, True),
    "nodiratime": (linux.MS_NODIRATIME, True), "relatime": (linux.MS_RELATIME, True),
    "strictatime": (linux.MS_STRICTATIME, True), "bind": (linux.MS_BIND, True),
    "rbind": (linux.MS_BIND | linux.MS_REC, True), "defaults": (0, True), "async": (linux.MS_SYNCHRONOUS, False),
}  # fmt: skip
PROPAGATION = {
    "private": linux.MS_PRIVATE, "rprivate": linux.MS_PRIVATE | linux.MS_REC,
    "slave": linux.MS_SLAVE, "rslave": linux.MS_SLAVE | linux.MS_REC,
    "shared": linux.MS_SHARED, "rshared": linux.MS_SHARED | linux.MS_REC,
    "unbindable": linux.MS_UNBINDABLE, "runbindable": linux.MS_UNBINDABLE | linux.MS_REC,
}  # fmt: skip
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("/proc/self/fd", "dev/fd"), ("/proc/self/fd/0", "dev/stdin"), ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"), ("pts/ptmx", "dev/ptmx"), ("/proc/kcore", "dev/core"),
)  # fmt: skip


def split(options: Sequence[str]) -> tuple[int, list[int], str]:
    """Return mount flags, propagation changes and the filesystem's own data of mount `options`."""
    flags, propagation, data = 0, [], []
    for option in options:
        if option in FLAGS:
            bits, on = FLAGS[option]
            flags = flags | bits if on else flags & ~bits
        elif option in PROPAGATION:
            propagation.append(PROPAGATION[option])
        else:
            data.append(option)
    return flags, propagation, ",".join(data)


def mount_overlay(target: str, options: Sequence[str]) -> None:
    """Mount an overlay at `target` by the mount API: any number of lower layers (`lowerdir+`, topmost first)."""
    context = linux.call("fsopen", b"overlay", linux.FSOPEN_CLOEXEC)
    try:
        for option in options:
            key, separator, value = option.partition("=")
            if separator:
                linux.call("fsconfig", context, linux.FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)
            else:
                linux.call("fsconfig", context, linux.FSCONFIG_SET_FLAG, key.encode(), None, 0)
        linux.call("fsconfig", context, linux.FSCONFIG_CMD_CREATE, None, None, 0)
        mounted = linux.call("fsmount", context, linux.FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        linux.call("move_mount", mounted, b"", -100, os.fsencode(target), linux.MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(mounted)


def prepare(spec: Mapping[str, Any], bundle: str, hierarchies: Mapping[str, str]) -> str:
    """Make the container's root a mount of its own and enter its mounts; returns the path to pivot to.

    `hierarchies` are the container's version 1 cgroup directories by controller, empty with version 2.
    Runs in the child, in its own mount namespace.
    """
    linux.mount(None, "/", None, linux.MS_SLAVE | linux.MS_REC)
    mounts = list(spec.get("mounts") or ())
    root = os.path.join(bundle, spec["root"]["path"])
    if mounts and mounts[0]["destination"] == "/" and mounts[0]["type"] == "overlay":
        mount_overlay(root, mounts.pop(0)["options"])
    else:
        linux.mount(root, root, None, linux.MS_BIND | linux.MS_REC)
    for entry in mounts:
        if entry.get("type") == "cgroup":
            _mount_cgroups(root, entry, hierarchies)
        else:
            _mount(root, entry)
    _devices(root, spec.get("linux", {}).get("devices") or ())
    return root


def open_inside(root_fd: int, path: str, flags: int) -> int:
    """Open `path` as if `root_fd` were the root directory (openat2(2), RESOLVE_IN_ROOT)."""
    how = linux.OpenHow(flags | os.O_CLOEXEC, 0, linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS)
    return linux.call("openat2", root_fd, os.fsencode(path), how, 24)


def make_target(root: str, path: str, is_directory: bool) -> int:
    """Return an O_PATH descriptor of `path` inside `root`; what is missing of it is made."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            return open_inside(root_fd, path, os.O_PATH)
        except KernelError as error:
            if error.errno != 2:
                raise
        parent, name = os.path.split(path.rstrip("/"))
        parent_fd = make_target(root, parent or "/", True)
        try:
            if is_directory:
                os.mkdir(name, 0o755, dir_fd=parent_fd)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o755, dir_fd=parent_fd))
            return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)
    finally:
        os.close(root_fd)


def _mount_cgroups(root: str, entry: Mapping[str, Any], hierarchies: Mapping[str, str]) -> None:
    """Show the container its own cgroups: version 2's tree, or version 1's hierarchies side by side."""
    point = entry["destination"]
    if not hierarchies:
        _mount(root, {**entry, "type": "cgroup2", "source": "cgroup"})
        return
    _mount(root, {"destination": point, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "nodev"]})
    kept = [option for option in entry.get("options") or () if option in ("ro", "nosuid", "noexec", "nodev")]
    for controller, directory in hierarchies.items():
        _mount(
            root,
            {
                "destination": f"{point}/{controller}",
                "type": "bind",
                "source": directory,
                "options": ["bind", *kept],
            },
        )


def _mount(root: str, entry: Mapping[str, Any]) -> None:
    kind, source = entry.get("type"), entry.get("source")
    flags, propagation, data = split(entry.get("options") or ())
    is_bind = kind == "bind" or bool(flags & linux.MS_BIND)
    is_directory = not is_bind or os.path.isdir(source or "")
    target_fd = make_target(root, entry["destination"], is_directory)
    target = f"/proc/self/fd/{target_fd}"
    try:
        if is_bind:
            linux.mount(source, target, None, linux.MS_BIND | (flags & linux.MS_REC))
            wanted = flags & ~(linux.MS_BIND | linux.MS_REC)
            if wanted:
                # the new mount lies over the descriptor's file: look it up again
                fresh = make_target(root, entry["destination"], is_directory)
                linux.mount(None, f"/proc/self/fd/{fresh}", None, linux.MS_REMOUNT | linux.MS_BIND | wanted)
                os.close(fresh)
        else:
            linux.mount(source or kind, target, kind, flags, data or None)
        for change in propagation:
            fresh = make_target(root, entry["destination"], is_directory)
            linux.mount(None, f"/proc/self/fd/{fresh}", None, change)
            os.close(fresh)
    finally:
        os.close(target_fd)


def _devices(root: str, extra: Sequence[Mapping[str, Any]]) -> None:
    umask = os.umask(0)
    dev = os.path.join(root, "dev")
    for name, major, minor in DEVICES:
        os.mknod(os.path.join(dev, name), 0o666 | stat.S_IFCHR, os.makedev(major, minor))
    for target, name in LINKS:
        try:
            os.symlink(target, os.path.join(root, name))
        except FileExistsError:
            continue
    for device in extra:
        path = os.path.join(root, device["path"].lstrip("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        kind = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}[device["type"]]
        if not os.path.lexists(path):
            os.mknod(
                path, device.get("fileMode", 0o666) | kind, os.makedev(device.get("major", 0), device.get("minor", 0))
            )
            os.chown(path, device.get("uid", 0), device.get("gid", 0))
    os.umask(umask)


def pivot(root: str) -> None:
    """Make `root` the root of the mount namespace and let go of the old one."""
    os.chdir(root)
    linux.call("pivot_root", b".", b".")
    linux.umount2(".", linux.MNT_DETACH)
    os.chdir("/")


def hide(masked: Sequence[str], read_only: Sequence[str]) -> None:
    """Cover `masked` paths with nothing, make `read_only` ones so (OCI runtime spec, "Masked Paths")."""
    for path in masked:
        try:
            if os.path.isdir(path):
                linux.mount("tmpfs", path, "tmpfs", linux.MS_RDONLY, "size=0")
            elif os.path.lexists(path):
                linux.mount("/dev/null", path, None, linux.MS_BIND)
        except KernelError as error:
            if error.errno not in (2, 20):
                raise
    for path in read_only:
        if os.path.lexists(path):
            linux.mount(path, path, None, linux.MS_BIND | linux.MS_REC)
            flags = (
                linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
            )
            linux.mount(None, path, None, flags)
