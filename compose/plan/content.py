"""Configs and secrets that are written into containers: of the model, of variables, or files with an owner.

A file of the host is mounted as it is; one that needs another owner or mode in the container is copied into it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from compose.plan.parts import FileDefinition, FileUse
from compose.plan.project import DesiredProject
from compose.plan.service import Service
from runtime.errors import SkiffError

FOLDERS = {"configs": "/", "secrets": "/run/secrets/"}
MODE = 0o444


class Injected(NamedTuple):
    """A file that is written into a created container; `source` is "configs" or "secrets", and the name there."""

    source: tuple[str, str]
    path: str
    content: bytes
    uid: int
    gid: int
    mode: int


def injected(target: DesiredProject, name: str) -> Iterator[Injected]:
    """Yield the files of the service's configs and secrets that are no mounts.

    Raises SkiffError for a variable that is not set, a file that can't be read, and in a service whose root is
    read-only (Compose Specification, "configs", "secrets").
    """
    service = target.services[name]
    for kind, folder in FOLDERS.items():
        for use in service.files(kind):
            declared = target.file(kind, use.source)
            variable = declared.environment
            source = declared.file if is_copied(use, declared, service) else ""
            if declared.content is None and not variable and not source:
                continue
            what = f"{kind[:-1]} {use.source!r}"
            if service.is_read_only:
                raise SkiffError(
                    f"cannot create {what} in read-only service {name!r}: `file` is the sole supported option",
                    "give its content as a file, or leave read_only out",
                )
            if variable and (kind, use.source) not in target.values:
                raise SkiffError(
                    f"environment variable {variable!r} required by {what} is not set",
                    f"set it: `{variable}=... skiff up`, or in .env",
                )
            if source:
                content = _read(source, f"service {name!r}: the file of {what}")
            else:
                content = (target.values[kind, use.source] if variable else declared.content or "").encode()
            yield Injected(
                (kind, use.source),
                use.path(folder),
                content,
                _number(use.uid, what, "uid"),
                _number(use.gid, what, "gid"),
                _mode(use.mode),
            )


def is_copied(use: FileUse, declared: FileDefinition, service: Service) -> bool:
    """Whether a config or secret that is a file of the host is copied because it needs an owner or mode."""
    return _wants_owner(use) and os.path.isfile(declared.file) and not service.is_read_only


def _wants_owner(use: FileUse) -> bool:
    return any(each is not None for each in (use.uid, use.gid, use.mode))


def left_out(target: DesiredProject, name: str) -> Iterator[str]:
    """Yield a warning for each config or secret whose owner or mode the service's read-only root does not let it have."""
    service = target.services[name]
    for kind in FOLDERS:
        for use in service.files(kind):
            if service.is_read_only and _wants_owner(use) and target.file(kind, use.source).file:
                yield (
                    f"service {name!r}: uid, gid and mode of {kind[:-1]} {use.source!r} are left out: with read_only the "
                    "file is mounted as it is on this machine"
                )


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise SkiffError(f"{what} can't be read: {path}: {error.strerror}", "correct the path or its mode") from None


def _number(value: object, what: str, key: str) -> int:
    if value in (None, ""):
        return 0
    if not str(value).isdigit():
        raise SkiffError(f"{what}: {key} is a number, not {value!r}", "names of users are not looked up in images")
    return int(str(value))


def _mode(value: object) -> int:
    if value in (None, ""):
        return MODE
    return int(str(value), 8) if isinstance(value, str) else int(str(value))
