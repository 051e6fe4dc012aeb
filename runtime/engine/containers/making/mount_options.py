"""Parses the mounts of a request (HostConfig's Binds, Mounts, Tmpfs, VolumesFrom) to Docker's mount points. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.bodies import ContainerConfig, HostConfig, MountBody
from runtime.errors import BadRequestError

PROPAGATIONS = ("shared", "slave", "private", "rshared", "rslave", "rprivate")
BIND_MODES = frozenset(("", "ro", "rw", "z", "Z", "nocopy", "cached", "consistent", "delegated", *PROPAGATIONS))
VOLUME_MODE = "z"
"""The "Mode" that Docker shows for a volume that is mounted without options (API, "MountPoint")."""
KNOWN_TYPES = ("bind", "volume", "tmpfs", "image")

MountPoint = dict[str, Any]


def target_of(path: str) -> str:
    """Return the normalized target path of a mount. Raises BadRequestError."""
    if not path:
        raise BadRequestError("invalid mount config: field Target must not be empty")
    if not path.startswith("/"):
        raise BadRequestError(f"invalid mount path: {path!r}: mount path must be absolute")
    normal = os.path.normpath(path)
    if normal.strip("/") == "":
        raise BadRequestError("invalid specification: destination can't be '/'")
    return "/" + normal.lstrip("/")


def parse_bind(text: str) -> MountPoint:
    """Parse one of HostConfig's Binds, "SOURCE:TARGET[:MODE]" or "TARGET". Raises BadRequestError."""
    parts = text.split(":")
    if len(parts) == 1:
        return {"Type": "volume", "Destination": target_of(parts[0]), "RW": True}
    if len(parts) > 3 or not parts[0]:
        raise BadRequestError(f"invalid volume specification: '{text}'", "write SOURCE:TARGET[:MODE]")
    source, target, options = parts[0], target_of(parts[1]), (parts[2].split(",") if len(parts) == 3 else [])
    for option in options:
        if option not in BIND_MODES:
            raise BadRequestError(
                f"invalid mode: {parts[2]}", f"{option!r} must be one of {', '.join(sorted(BIND_MODES - {''}))}"
            )
    mount = {"Destination": target, "RW": "ro" not in options, "Mode": ",".join(options)}
    if source.startswith("/"):
        propagation = next((option for option in options if option in PROPAGATIONS), "rprivate")
        return {**mount, "Type": "bind", "Source": os.path.normpath(source), "Propagation": propagation, "Create": True}
    named = {**mount, "Type": "volume", "Name": source, "NoCopy": "nocopy" in options}
    return named if options else {**named, "Mode": VOLUME_MODE}


def parse_mount(wanted: MountBody) -> MountPoint:
    """Parse one of HostConfig's Mounts. Raises BadRequestError."""
    kind = wanted.get("Type") or "volume"
    if kind not in KNOWN_TYPES:
        raise _misfit(kind, "mount type unknown")
    if not wanted.get("Target"):
        raise _misfit(kind, "field Target must not be empty")
    if kind == "tmpfs" and wanted.get("Source"):
        raise _misfit(kind, "field Source must not be specified")
    mount: MountPoint = {
        "Type": kind,
        "Destination": target_of(wanted.get("Target") or ""),
        "RW": not wanted.get("ReadOnly"),
    }
    if kind == "bind":
        bind = wanted.get("BindOptions") or {}
        if bind.get("Propagation") not in (None, "", *PROPAGATIONS):
            raise BadRequestError(
                f'invalid mount config for type "bind": invalid propagation mode: {bind["Propagation"]}'
            )
        return mount | {
            "Source": os.path.normpath(wanted["Source"]) if wanted.get("Source") else "",
            "Propagation": bind.get("Propagation") or "rprivate",
            "Create": bool(bind.get("CreateMountpoint")),
            "NonRecursive": bool(bind.get("NonRecursive")),
            "WritableBelow": bool(bind.get("ReadOnlyNonRecursive")),
        }
    if kind == "volume":
        options = wanted.get("VolumeOptions") or {}
        driver = options.get("DriverConfig") or {}
        return mount | {
            "Name": wanted.get("Source") or "",
            "Mode": VOLUME_MODE,
            "NoCopy": bool(options.get("NoCopy")),
            "Subpath": _subpath(options, "volume"),
            "Labels": options.get("Labels"),
            "DriverOpts": driver.get("Options"),
        }
    if kind == "tmpfs":
        tmpfs = wanted.get("TmpfsOptions") or {}
        chosen = []
        if tmpfs.get("SizeBytes"):
            chosen.append(f"size={tmpfs['SizeBytes']}")
        if tmpfs.get("Mode"):
            chosen.append(f"mode={tmpfs['Mode']:o}")
        chosen += ["=".join(words) for words in tmpfs.get("Options") or ()]
        return mount | {"Options": tmpfs_options([*chosen, *(["ro"] if wanted.get("ReadOnly") else [])])}
    if not wanted.get("Source"):
        raise _misfit(kind, "field Source must not be empty")
    subpath = _subpath(wanted.get("ImageOptions") or {}, "image")
    return mount | {"Source": wanted["Source"], "RW": False, "Subpath": subpath}


def _misfit(kind: str, problem: str) -> BadRequestError:
    known = f"known types: {', '.join(KNOWN_TYPES)}"
    return BadRequestError(f'invalid mount config for type "{kind}": {problem}', known)


def _subpath(options: Mapping[str, Any], kind: str) -> str:
    subpath = options.get("Subpath") or ""
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise BadRequestError(
            f'invalid mount config for type "{kind}": subpath must be a relative path within the {kind}',
            f"{subpath!r} leads out of it",
        )
    return os.path.normpath(subpath) if subpath else ""


def parse_tmpfs(target: str, options: str) -> MountPoint:
    """Return the mount point for one of HostConfig's Tmpfs."""
    return {
        "Type": "tmpfs",
        "Destination": target_of(target),
        "RW": "ro" not in options.split(","),
        "Options": tmpfs_options([option for option in options.split(",") if option]),
    }


def tmpfs_options(options: Sequence[str]) -> list[str]:
    """Return mount options with Docker's defaults added."""
    chosen = list(options)
    for default, opposite in (("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")):
        if opposite not in chosen and default not in chosen:
            chosen.append(default)
    return chosen


def mount_points(
    config: ContainerConfig, host: HostConfig, others: Mapping[str, Sequence[MountPoint]]
) -> list[MountPoint]:
    """Return the mount points of a request; `others` are those of the containers in VolumesFrom, by name.

    Explicit mounts override those of other containers and of the image. Raises BadRequestError, also if two explicit
    ones have the same target.
    """
    found: dict[str, MountPoint] = {}
    for source in host.get("VolumesFrom") or ():
        name, _, mode = source.partition(":")
        for mount in others[name]:
            found[mount["Destination"]] = {**mount, "RW": mount.get("RW", True) and mode != "ro"}
    for wanted in config.get("Volumes") or {}:
        # an image may have a relative path (VOLUME data), which is relative to the root, as in Docker
        target = target_of(f"/{wanted}") if wanted else target_of(wanted)
        found.setdefault(target, {"Type": "volume", "Destination": target, "RW": True})
    explicit = [parse_bind(text) for text in host.get("Binds") or ()]
    explicit += [parse_mount(wanted) for wanted in host.get("Mounts") or ()]
    targets = set()
    for mount in explicit:
        if mount["Destination"] in targets:
            raise BadRequestError(f"Duplicate mount point: {mount['Destination']}")
        targets.add(mount["Destination"])
        found[mount["Destination"]] = mount
    for target, options in (host.get("Tmpfs") or {}).items():
        mount = parse_tmpfs(target, options)
        found[mount["Destination"]] = mount
    return list(found.values())
