"""Writes the ID mappings of a new user namespace (user_namespaces(7), "User and group ID mappings")."""

from __future__ import annotations

import os
from collections.abc import Sequence

from runtime.hints import TYPE_CHECKING
from runtime.oci.program.errors import ProgramError

if TYPE_CHECKING:
    from runtime.oci.types import OciIdMapping, OciLinux

FILES = (("uidMappings", "uid_map", "newuidmap"), ("gidMappings", "gid_map", "newgidmap"))

PROGRAMS = ("/usr/bin", "/bin", "/usr/local/bin")
"""The directories of the set-user-ID programs; not $PATH, which the caller controls."""


def write(pid: int, settings: OciLinux) -> None:
    """Write the mappings of the document's `linux` for the user namespace of process `pid`. Raises ProgramError.

    A user without root may map only itself; for more, newuidmap(1) and newgidmap(1) are called, which check
    /etc/subuid and /etc/subgid.
    """
    for field, file, program in FILES:
        mappings = settings["uidMappings"] if field == "uidMappings" else settings["gidMappings"]
        lines = [f"{one.get('containerID', 0)} {one.get('hostID', 0)} {one['size']}" for one in mappings]
        own = os.geteuid() if field == "uidMappings" else os.getegid()
        is_self = len(lines) == 1 and mappings[0].get("hostID", 0) == own and mappings[0]["size"] == 1
        try:
            if os.geteuid() and not is_self:
                _by_program(program, pid, lines)
                continue
            if os.geteuid() and file == "gid_map":
                _write(f"/proc/{pid}/setgroups", "deny")
            _write(f"/proc/{pid}/{file}", "\n".join(lines))
        except OSError as error:
            raise ProgramError(f"linux.{field} can't be set: {error.strerror or error}") from error


def host_id(mappings: Sequence[OciIdMapping], inside: int) -> int | None:
    """Return the host's ID for the ID `inside`; None if it is not mapped."""
    for one in mappings:
        offset = inside - one.get("containerID", 0)
        if 0 <= offset < one["size"]:
            return int(one.get("hostID", 0) + offset)
    return None


def has_root(settings: OciLinux) -> bool:
    """Return whether UID 0 and GID 0 are mapped."""
    return all(
        any(one.get("containerID", 0) == 0 and one["size"] for one in mappings or ())
        for mappings in (settings.get("uidMappings"), settings.get("gidMappings"))
    )


def _by_program(program: str, pid: int, lines: Sequence[str]) -> None:
    path = next((found for folder in PROGRAMS if os.access(found := f"{folder}/{program}", os.X_OK)), None)
    if path is None:
        raise ProgramError(f"{program} is missing: without root it is needed to map IDs", "install uidmap")
    arguments = [program, str(pid), *(word for line in lines for word in line.split())]
    child = os.posix_spawn(path, arguments, os.environ)
    if os.waitpid(child, 0)[1]:
        raise ProgramError(f"{program} refused {'; '.join(lines)}", "add the range to /etc/subuid and /etc/subgid")


def _write(path: str, text: str) -> None:
    # one write(2): the kernel accepts only a complete map
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
