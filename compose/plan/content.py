"""Configs and secrets whose content is not a file of the host: given in the model, or in an environment variable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from compose.plan.project import DesiredProject
from runtime.errors import SkiffError

FOLDERS = {"configs": "/", "secrets": "/run/secrets/"}
MODE = 0o444


class Injected(NamedTuple):
    """A file that is written into a created container."""

    path: str
    content: bytes
    uid: int
    gid: int
    mode: int


def injected(target: DesiredProject, name: str) -> Iterator[Injected]:
    """Yield the files of the service's configs and secrets with `content:` or `environment:`.

    Raises SkiffError for a variable that is not set, and in a service whose root is read-only (Compose
    Specification, "configs", "secrets").
    """
    service = target.services[name]
    for kind, folder in FOLDERS.items():
        for use in service.files(kind):
            declared = target.file(kind, use.source)
            variable = declared.environment
            if declared.content is None and not variable:
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
            content = target.values[kind, use.source] if variable else declared.content or ""
            yield Injected(
                use.path(folder),
                content.encode(),
                _number(use.uid, what, "uid"),
                _number(use.gid, what, "gid"),
                _mode(use.mode),
            )


def content_digest(target: DesiredProject, name: str) -> str:
    """Return the digest of what is written into the service's containers, "" where nothing is."""
    contents = list(injected(target, name))
    return hashlib.sha256("\0".join(map(repr, contents)).encode()).hexdigest() if contents else ""


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
