"""Parses the options of the local volume driver. Pure.

Source: Docker documentation, `docker volume create`, "Driver-specific options".
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.errors import BadRequestError

KNOWN = ("type", "device", "o")
_FLAGS = (
    "ro",
    "rw",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "noatime",
    "relatime",
    "sync",
    "async",
    "defaults",
)
_TMPFS_SETTINGS = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge")
_BINDS = ("bind", "rbind")


@dataclass(frozen=True)
class Backing:
    """The storage of a volume: "directory" (its own), "bind" (`device` is the host's path) or "tmpfs"; mount options."""

    kind: str = "directory"
    device: str = ""
    flags: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def is_read_only(self) -> bool:
        """Whether it is read-only."""
        return "ro" in self.flags


def backing(name: str, options: Mapping[str, str]) -> Backing:
    """Parse the driver options of the volume `name`. Raises BadRequestError."""
    fail = _VolumeErrors(name)
    for key in options:
        if key == "size":
            raise fail("quota size requested but no quota support", "omit size; for a tmpfs set o: size=10m")
        if key not in KNOWN:
            near = difflib.get_close_matches(key, KNOWN, 1)
            raise fail(f'invalid option: "{key}"', f'did you mean "{near[0]}"?' if near else "known: type, device, o")
    kind, device = options.get("type") or "", options.get("device") or ""
    words = [word.strip() for word in (options.get("o") or "").split(",") if word.strip()]
    if not kind and not device and not words:
        return Backing()
    is_bind = any(word in _BINDS for word in words) or kind in _BINDS
    if not device and kind != "tmpfs":
        raise fail('missing required option: "device"', "name it: device: /some/directory")
    if not kind:
        raise fail('missing required option: "type"', "write type: none, o: bind for a directory")
    if is_bind:
        flags, settings = _sorted(fail, [word for word in words if word not in _BINDS], ())
        if not device.startswith("/"):
            raise fail(
                f"the device {device!r} of a bind is not an absolute path", "write it from the root: /some/directory"
            )
        return Backing("bind", device, flags, settings)
    if kind == "tmpfs":
        flags, settings = _sorted(fail, words, _TMPFS_SETTINGS)
        return Backing("tmpfs", device, flags, settings)
    if kind.startswith(("nfs", "cifs", "smb")):
        raise fail(
            f"volumes of type {kind} are not supported",
            "mount it on the host, and bind-mount it: type: none, o: bind, device",
        )
    raise fail(
        f"volumes of type {kind or 'none'} on {device} are not supported",
        "only bind mounts (type: none, o: bind) and tmpfs are; mount it on the host, and bind-mount that",
    )


@dataclass(frozen=True)
class _VolumeErrors:
    name: str

    def __call__(self, problem: str, hint: str) -> BadRequestError:
        return BadRequestError(f"create {self.name}: {problem}", hint)


def _sorted(
    fail: _VolumeErrors, words: list[str], settings: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the words of `o` into flags and `name=value` settings."""
    flags, values = [], []
    for word in words:
        key, equals, _ = word.partition("=")
        if equals and key in settings:
            values.append(word)
        elif not equals and word in _FLAGS:
            flags.append(word)
        else:
            raise fail(f"invalid mount option {word!r}", f"known: {', '.join((*_FLAGS, *settings))}")
    return tuple(flags), tuple(values)
