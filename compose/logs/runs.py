"""When a container was made, ran last, and how that ended."""

from __future__ import annotations

from typing import NamedTuple

from compose.logs.stamped import nanoseconds
from compose.plan.project import ObservedContainer
from runtime.client import Client


class ContainerTimes(NamedTuple):
    """Times in nanoseconds since 1970, 0 for what has not happened; `finished_at` as the engine writes it."""

    created_ns: int
    started_ns: int
    is_over: bool = False
    exit_code: int = 0
    is_out_of_memory: bool = False
    finished_at: str = ""

    def end(self) -> str:
        """Return what ended the last run, "" while it goes on."""
        if not self.is_over:
            return ""
        why = ", out of memory" if self.is_out_of_memory else ""
        return f"exited with code {self.exit_code}{why} at {self.finished_at[:19]}Z"


def run_of(client: Client, container: ObservedContainer) -> ContainerTimes:
    """Return the times of `container`. Raises SkiffError."""
    about = client.container(container.id)
    state = about["State"]
    started = state["StartedAt"]
    return ContainerTimes(
        nanoseconds(about["Created"].encode()),
        0 if started.startswith("0001-") else nanoseconds(started.encode()),
        state["Status"] == "exited",
        int(state["ExitCode"]),
        bool(state.get("OOMKilled")),
        state.get("FinishedAt") or "",
    )
