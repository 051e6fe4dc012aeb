"""Files of the host that containers use: configs and secrets as mounts, seccomp profiles."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from compose.plan.content import FOLDERS, is_copied
from compose.plan.project import DesiredProject
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from runtime.bodies import MountBody

UNCONFINED = "systempaths=unconfined"


def file_mounts(target: DesiredProject, name: str) -> Iterator[MountBody]:
    """Yield mounts of the service's configs and secrets that come from files.

    Raises SkiffError for a file that is not there and for what is made elsewhere.
    """
    service = target.services[name]
    for kind, folder in FOLDERS.items():
        for use in service.files(kind):
            declared = target.file(kind, use.source)
            what = f"{kind[:-1]} {use.source!r}"
            if declared.is_external:
                raise SkiffError(
                    f"service {name!r}: unsupported external {what}", "give it as a file, as content or a variable"
                )
            source = declared.file
            if not source or is_copied(use, declared, service):
                continue
            if not os.path.exists(source):
                raise SkiffError(
                    f"service {name!r}: the file of {what} does not exist: {source}", "make it, or correct the path"
                )
            yield {
                "Type": "bind",
                "Source": source,
                "Target": use.path(folder),
                "ReadOnly": True,
            }


def make_bind_sources(target: DesiredProject, name: str) -> None:
    """Create the missing folders that the service bind-mounts, owned by the user of the command, not of the engine.

    Raises SkiffError for one that can't be made.
    """
    for mount in target.services[name].mounts:
        if mount.type == "bind" and mount.creates_host_path:
            try:
                _make_folder(mount.source)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise SkiffError(
                    f"service {name!r}: the bind source {mount.source} can't be made: {reason}",
                    "make it, or correct the path",
                ) from error


def _make_folder(path: str) -> None:
    if os.path.lexists(path):
        return
    parent = os.path.dirname(path)
    _make_folder(parent)
    with suppress(FileExistsError):
        os.mkdir(path)
    above = os.stat(parent)
    # under sudo, what is made in a person's folder is that person's
    if os.geteuid() == 0 and str(above.st_uid) == os.environ.get("SUDO_UID"):
        os.chown(path, above.st_uid, above.st_gid)


def security_options(target: DesiredProject, name: str) -> dict[str, list[str]]:
    """Return the service's `security_opt` as parts of a HostConfig: files of seccomp profiles read in.

    Raises SkiffError for an option that is none and for a profile that can't be read.
    """
    given = list(target.services[name].security_opt)
    options = [_security_option(each, name, target.working_directory) for each in given if each != UNCONFINED]
    found = {"SecurityOpt": options} if options else {}
    return {**found, "MaskedPaths": [], "ReadonlyPaths": []} if UNCONFINED in given else found


def _security_option(option: str, service: str, folder: str) -> str:
    key, equals, value = option.replace(":", "=", 1).partition("=") if "=" not in option else option.partition("=")
    if not equals and key != "no-new-privileges":
        raise SkiffError(f'service {service!r}: invalid security option "{option}"', "write NAME=VALUE")
    if key != "seccomp" or value in ("unconfined", "builtin"):
        return option
    path = os.path.join(folder, value)
    try:
        with open(path, "rb") as file:
            profile: Mapping[str, Any] = json.load(file)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
        raise SkiffError(
            f"service {service!r}: seccomp profile {path}: {why}", "correct the path or the file"
        ) from None
    return "seccomp=" + json.dumps(profile, separators=(",", ":"))
