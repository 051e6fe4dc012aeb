"""Host devices in containers (Docker Engine API, HostConfig "Devices")."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from runtime.bodies import HostConfig
from runtime.errors import BadRequestError
from runtime.oci.types import OciDevice, OciDeviceNumber

OWN_DEVICES = frozenset(f"/dev/{name}" for name in "pts shm fd mqueue console ptmx .lxc .lxd-mounts .udev".split())
"""Paths in /dev that every container has its own of."""


def devices(host: HostConfig, privileged: bool) -> list[OciDevice]:
    """Return `linux.devices`: those in HostConfig, with `privileged` all of the host's. Raises BadRequestError."""
    found = [
        _device(inside, about)
        for wanted in host.get("Devices") or ()
        for inside, about in nodes(wanted["PathOnHost"], wanted.get("PathInContainer") or wanted["PathOnHost"])
    ]
    if privileged:
        found += [_device(path, about) for path, about in _walk("/dev", "/dev") if path not in OWN_DEVICES]
    return found


def nodes(outside: str, inside: str) -> list[tuple[str, os.stat_result]]:
    """Return (path in the container, stat) of the device node `outside`, or of all below that directory.

    `inside` is the path of `outside` in the container. Raises BadRequestError if there is none.
    """
    try:
        about = os.stat(outside)
        found = [(inside, about)] if _is_device(about) else []
        if stat.S_ISDIR(about.st_mode):
            found = list(_walk(outside, inside))
        reason = "not a device node"
    except OSError as error:
        found, reason = [], str(error.strerror).lower()
    if not found:
        raise BadRequestError(
            f'error gathering device information while adding custom device "{outside}": {reason}',
            "name a device node of this machine, or a directory with some",
        )
    return found


def _is_device(about: os.stat_result) -> bool:
    return stat.S_ISCHR(about.st_mode) or stat.S_ISBLK(about.st_mode)


def _walk(outside: str, inside: str) -> Iterator[tuple[str, os.stat_result]]:
    for entry in os.scandir(outside):
        about = entry.stat(follow_symlinks=False)
        path = f"{inside}/{entry.name}"
        if entry.is_dir(follow_symlinks=False) and path not in OWN_DEVICES:
            yield from _walk(entry.path, path)
        elif _is_device(about):
            yield path, about


def kind_of(about: os.stat_result) -> OciDeviceNumber:
    """Return type, major and minor of a device node as in the OCI document."""
    kind = "b" if stat.S_ISBLK(about.st_mode) else "c"
    return {"type": kind, "major": os.major(about.st_rdev), "minor": os.minor(about.st_rdev)}


def _device(path: str, about: os.stat_result) -> OciDevice:
    mode = stat.S_IMODE(about.st_mode)
    return {"path": path, **kind_of(about), "fileMode": mode, "uid": about.st_uid, "gid": about.st_gid}
