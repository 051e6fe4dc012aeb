"""The device nodes of a container (OCI runtime spec, config-linux.md, "Devices")."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from runtime.hints import TYPE_CHECKING
from runtime.linux import syscalls as linux
from runtime.oci.root import Root, RootError

if TYPE_CHECKING:
    from runtime.oci.types import OciDevice

DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"), ("pts/ptmx", "ptmx"), ("/proc/kcore", "core"),
)  # fmt: skip


PTMX, PTMX_NUMBER = "/dev/ptmx", os.makedev(5, 2)


def make_default_devices(root: Root) -> None:
    """Create the nodes and links of /dev that are missing (OCI runtime spec, "Default Devices", "Dev symbolic links")."""
    dev = root.provide("/dev", True)
    for name, major, minor in DEVICES:
        _node(dev, name, 0o666 | stat.S_IFCHR, os.makedev(major, minor), f"/dev/{name}")
    for target, name in LINKS:
        try:
            os.symlink(target, name, dir_fd=dev)
        except FileExistsError:
            continue
    os.close(dev)


def make_devices(root: Root, devices: Sequence[OciDevice], *, has_defaults: bool) -> None:
    """Create the `devices` of the document. `has_defaults`: whether the default ones are made, too.

    They are made before the default ones, which leave alone what is there: mode and owner are the document's.
    """
    for device in devices:
        # the default one is a link to that of the container's own pseudo-terminals
        if not (has_defaults and _path(device) == PTMX and _number(device) == PTMX_NUMBER and device["type"] in "cu"):
            _device(root, device)


def change_defaults(devices: Sequence[OciDevice]) -> bool:
    """Whether one of `devices` has the path of a default one and another number, mode or owner."""
    numbers = {f"/dev/{name}": os.makedev(major, minor) for name, major, minor in DEVICES}
    return any(
        _path(device) in numbers
        and (
            device["type"] not in "cu"
            or _number(device) != numbers[_path(device)]
            or device.get("fileMode", 0o666) & 0o7777 != 0o666
            or bool(device.get("uid") or device.get("gid"))
        )
        for device in devices
    )


def _path(device: OciDevice) -> str:
    return os.path.normpath(device["path"])


def _number(device: OciDevice) -> int:
    return os.makedev(device.get("major", 0), device.get("minor", 0))


def _device(root: Root, device: OciDevice) -> None:
    path = _path(device)
    folder, name = os.path.split(path)
    parent = root.provide(folder, True)
    kind = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}[device["type"]]
    mode = device.get("fileMode", 0o666) & 0o7777
    if _node(parent, name, mode | kind, _number(device), path):
        os.chown(name, device.get("uid", 0), device.get("gid", 0), dir_fd=parent, follow_symlinks=False)
    else:
        _check(root, path, kind, _number(device))
    os.close(parent)


def _check(root: Root, path: str, kind: int, number: int) -> None:
    """Raise RootError if `path`, by way of links too, is not the device `number`."""
    found = root.find(path)
    there = os.fstat(found) if found >= 0 else None
    if found >= 0:
        os.close(found)
    if there is None or stat.S_IFMT(there.st_mode) != kind or (kind != stat.S_IFIFO and there.st_rdev != number):
        raise RootError(
            f"{path} exists, and is not the requested device",
            hint="leave it out of the devices, or remove it from the image or volume",
        )


def _node(parent: int, name: str, mode: int, number: int, path: str) -> bool:
    """Create a device node unless the name exists; return whether it was created.

    Without permission, as in a user namespace, the host's node is bind-mounted instead; `path` is where it probably is.
    """
    try:
        os.mknod(name, mode, number, dir_fd=parent)
    except FileExistsError:
        return False
    except PermissionError:
        _bind_node(parent, name, mode, number, path)
        return False
    return True


def _host_nodes() -> Iterator[str]:
    return (f"{folder}/{name}" for folder, _, names in os.walk("/dev") for name in names)


def _is_node(path: str, mode: int, number: int) -> bool:
    """Whether `path` (not followed) is the node of device `number` with the file type of `mode`."""
    try:
        about = os.lstat(path)
    except OSError:
        return False
    return about.st_rdev == number and stat.S_IFMT(about.st_mode) == stat.S_IFMT(mode)


def _bind_node(parent: int, name: str, mode: int, number: int, path: str) -> None:
    """Bind-mount the host's node of device `number`."""
    found = next((one for one in (path, *_host_nodes()) if _is_node(one, mode, number)), None)
    if found is None:
        raise RootError(f"device {name}: the host has no node {os.major(number)}:{os.minor(number)} in /dev")
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=parent))
    target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    same = linux.clone_mount(linux.AT_FDCWD, found, recursive=False)
    linux.attach_mount(same, target)
    os.close(same)
    os.close(target)
