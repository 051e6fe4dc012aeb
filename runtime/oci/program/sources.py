"""Bind mounts cloned before the fork, because the child could not.

An ID-mapped mount needs CAP_SYS_ADMIN in the user namespace that owns the filesystem, and sources may be readable for the
caller, but not for the root of the container's user namespace.
"""

from __future__ import annotations

import errno
import os
import signal

from runtime.errors import KernelError
from runtime.hints import TYPE_CHECKING
from runtime.linux import syscalls as linux
from runtime.oci import launch
from runtime.oci.mount_options import MountOptions
from runtime.oci.program import mappings
from runtime.oci.program.errors import ProgramError

if TYPE_CHECKING:
    from runtime.oci.types import OciLinux, OciMount, OciSpec


def prepare(document: OciSpec) -> None:
    """Add the descriptor of a cloned mount as `mount` to the document's entries that need it. Raises ProgramError."""
    has_users = any(one["type"] == "user" for one in document["linux"]["namespaces"])
    for entry in document["mounts"]:
        options = MountOptions(entry.get("options") or ())
        maps_ids = bool(entry.get("uidMappings")) or options.maps_ids
        if not maps_ids and not (has_users and (options.is_bind or entry.get("type") == "bind")):
            continue
        try:
            entry["mount"] = linux.clone_mount(
                linux.AT_FDCWD, entry.get("source") or "", recursive=bool(options.flags & linux.MS_REC)
            )
        except KernelError as error:
            if error.errno == errno.EPERM and not maps_ids:
                continue  # without root only the child, in its user namespace, can clone it
            raise ProgramError(
                f"mounts: {entry['destination']}: {entry.get('source')}: {os.strerror(error.errno).lower()}"
            ) from error
        if maps_ids:
            _map(entry, document, is_deep=options.maps_all_ids)


def _map(entry: OciMount, document: OciSpec, *, is_deep: bool) -> None:
    """ID-map the entry's mount with its own mappings, or with the container's."""
    of = entry if entry.get("uidMappings") else document["linux"]
    wanted: OciLinux = {"uidMappings": of.get("uidMappings") or [], "gidMappings": of.get("gidMappings") or []}
    if not wanted.get("uidMappings"):
        raise ProgramError(f"mounts: {entry['destination']}: an ID-mapped mount needs uidMappings")
    users = _namespace(wanted)
    try:
        linux.map_mount(entry["mount"], users, recursive=is_deep)
    except KernelError as error:
        reason = os.strerror(error.errno).lower()
        raise ProgramError(
            f"mounts: {entry['destination']}: the owners of {entry['source']} can't be mapped: {reason}",
            "the kernel supports it for ext4, xfs and btrfs, for tmpfs since Linux 6.3, and not for overlays",
        ) from error
    finally:
        os.close(users)


def close(document: OciSpec) -> None:
    """Close the descriptors that `prepare` added, and remove them from the entries."""
    for entry in document["mounts"]:
        if "mount" in entry:
            os.close(entry.pop("mount"))


def _namespace(wanted: OciLinux) -> int:
    """Return a descriptor of a new user namespace with the mappings of `wanted`, made by a child that exits again."""
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
