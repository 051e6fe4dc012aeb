"""The commands `list` and `ps`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence

from runtime.oci.cgroup import Cgroups
from runtime.oci.program.errors import ProgramError
from runtime.oci.program.store import StoredContainer


def shown(
    containers: Sequence[StoredContainer], form: str, *, quiet: bool, owner: Callable[[Mapping[str, object]], str]
) -> str:
    """Return `containers` as text: a table, JSON, or with `quiet` IDs. `owner(record)` is the creator's user name."""
    if quiet:
        return "".join(f"{container.id}\n" for container in containers)
    states = [
        {
            **container.state(),
            "rootfs": container.record["rootfs"],
            "created": container.record["created"],
            "owner": owner(container.record),
        }
        for container in containers
    ]
    if form == "json":
        return json.dumps(states) + "\n"
    rows: list[tuple[str, ...]] = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
    rows += [
        tuple(str(state[key]) for key in ("id", "pid", "status", "bundle", "created", "owner")) for state in states
    ]
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(line.rstrip() + "\n" for line in lines)


def processes(container: StoredContainer, form: str, arguments: Sequence[str]) -> str:
    """Return the container's processes: PIDs as JSON, or the output of ps(1) with `arguments`."""
    if container.cgroup is not None:
        pids = sorted(Cgroups(has_systemd_tree=True).processes(container.cgroup))
    else:
        pids = [container.pid] if container.pid else []
    if form == "json":
        return json.dumps(pids) + "\n"
    options = list(arguments[1:] if arguments[:1] == ["--"] else arguments) or ["-ef"]
    try:
        done = subprocess.run(["ps", *options], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ProgramError("the program ps is missing", "-or use --format json") from error
    if done.returncode:
        raise ProgramError(f"ps {' '.join(options)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    heading, *lines = done.stdout.splitlines()
    try:
        column = heading.split().index("PID")
    except ValueError:
        raise ProgramError(
            f"ps {' '.join(options)}: the output has no column PID", "it selects the container's processes"
        ) from None
    wanted = {str(pid) for pid in pids}
    kept = [line for line in lines if len(fields := line.split()) > column and fields[column] in wanted]
    return "".join(f"{line}\n" for line in [heading, *kept])
