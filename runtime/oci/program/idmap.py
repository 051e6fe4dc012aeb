"""ID-mapped mounts: made before the fork, as who may map a filesystem's owners is root where it was mounted."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from runtime.errors import KernelError
from runtime.hints import Any
from runtime.linux import syscalls as linux
from runtime.oci import launch
from runtime.oci.mount_options import MAP_ALL_IDS, MAP_IDS, MountOptions
from runtime.oci.program import mappings
from runtime.oci.program.errors import ProgramError


def prepare(document: Mapping[str, Any]) -> None:
    """Give each entry of the document's `mounts` that maps IDs its mount, as the descriptor `mount`. Raises ProgramError."""
    for entry in document["mounts"]:
        options = entry.get("options") or ()
        if not (entry.get("uidMappings") or MAP_IDS in options or MAP_ALL_IDS in options):
            continue
        wanted = entry if entry.get("uidMappings") else document["linux"]
        if not wanted.get("uidMappings"):
            raise ProgramError(f"mounts: {entry['destination']}: there are no mappings to map its owners by")
        is_deep = bool(MountOptions(options).flags & linux.MS_REC)
        users = _namespace(wanted)
        try:
            mount = linux.clone_mount(linux.AT_FDCWD, entry["source"], recursive=is_deep)
            entry["mount"] = mount
            linux.map_mount(mount, users, recursive=MAP_ALL_IDS in options)
        except KernelError as error:
            raise ProgramError(
                f"mounts: {entry['destination']}: the owners of {entry['source']} can't be mapped: {os.strerror(error.errno)}"
            ) from error
        finally:
            os.close(users)


def close(document: Mapping[str, Any]) -> None:
    """Close what `prepare` opened; the entries are what the document had."""
    for entry in document["mounts"]:
        if "mount" in entry:
            os.close(entry.pop("mount"))


def _namespace(wanted: Mapping[str, Any]) -> int:
    """Return a user namespace with the mappings of `wanted`: that of a child, which is not needed any longer."""
    gate, ours = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = launch.clone(linux.CLONE_NEWUSER)
    if pid == 0:
        os.close(ours)
        os.read(gate, 1)
        os._exit(0)
    os.close(gate)
    try:
        mappings.write(pid, wanted)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
        os.close(ours)
