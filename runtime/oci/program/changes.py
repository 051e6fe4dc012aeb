"""`update`: changes the limits of a running container."""

from __future__ import annotations

import sys
from argparse import Namespace

from runtime.hints import TYPE_CHECKING, Any
from runtime.oci import cgroup_usage
from runtime.oci.cgroup import Cgroups
from runtime.oci.program import document
from runtime.oci.program.arguments import NUMBERS, TEXTS
from runtime.oci.program.errors import ProgramError
from runtime.oci.program.shape import RESOURCES, shaped
from runtime.oci.program.store import StoredContainer

if TYPE_CHECKING:
    from runtime.oci.types import OciMemory


def update(container: StoredContainer, options: Namespace) -> None:
    """Set the limits in `options` and store them in the container's record. Raises ProgramError."""
    wanted = _resources(options)
    if wanted.pop("intelRdt", None):
        raise ProgramError("Intel RDT is not supported")
    if container.cgroup is None:
        raise ProgramError(f"container {container.id} has no cgroup to limit")
    wanted.pop("devices", None)
    current: Any = container.document["linux"].get("resources") or {}
    merged: Any = {**current}
    for kind, values in wanted.items():
        merged[kind] = {**(current.get(kind) or {}), **values} if isinstance(values, dict) else values
    # settings that depend on each other are written together: quota and period, swap and memory
    changed: Any = {kind: merged[kind] for kind in wanted}
    if changed.get("memory"):
        _check_use(container.cgroup, changed["memory"])
    try:
        Cgroups(has_systemd_tree=True).update(container.cgroup, changed)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise ProgramError(f"the limits can't be set: {where}{error.strerror}") from error
    container.document["linux"]["resources"] = merged
    container.save()


def _check_use(cgroup: str, memory: OciMemory) -> None:
    """Apply `checkBeforeUpdate`: refuse a limit below the usage, for which cgroup version 2 would kill processes."""
    if not memory.get("checkBeforeUpdate") or memory.get("limit", -1) < 0:
        return
    used = cgroup_usage.measure(Cgroups(has_systemd_tree=True), cgroup)["memory"]
    if memory["limit"] < used:
        raise ProgramError(f"the memory limit {memory['limit']} is below the usage: {used}")


def _resources(options: Namespace) -> dict[str, Any]:
    """Return the changes as `linux.resources`."""
    if options.resources:
        where = "standard input" if options.resources == "-" else options.resources
        if options.resources == "-":
            text = sys.stdin.buffer.read()
        else:
            with open(options.resources, "rb") as file:
                text = file.read()
        found: dict[str, Any] = shaped(document.decoded(text, where), RESOURCES, where)
        return found
    wanted: dict[str, Any] = {}
    for option, (kind, name) in {**NUMBERS, **TEXTS}.items():
        value = getattr(options, option.replace("-", "_"))
        if value is not None:
            wanted.setdefault(kind, {})[name] = value
    return wanted
