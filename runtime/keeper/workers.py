"""Child processes for work that may block.

The keeper has one thread, and every container depends on it: it never waits for a process, a lock, a disk or a peer.
What may take long runs in a child instead, which writes its result into a pipe that the event loop watches.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable

from runtime.errors import reason_of
from runtime.hints import Any
from runtime.keeper import wire
from runtime.linux import pidfd as pidfds
from runtime.oci import launch

CHUNK_BYTES = 65536


class WorkerProcess:
    """A child that runs `work`. `done` is called once, with {"result": …} or {"error": …, "errno": …}."""

    def __init__(
        self,
        work: Callable[[], Any],
        done: Callable[[dict[str, Any]], None],
        kept: Iterable[int],
        limit_s: float,
        owner: object,
    ) -> None:
        self.done = done
        self.owner = owner
        self.deadline_s = time.monotonic() + limit_s
        self.said = bytearray()
        self.report, report_child = os.pipe2(os.O_CLOEXEC)
        try:
            pid, self.pidfd = launch.clone(0)
            if pid == 0:
                _run(work, [report_child, *kept], report_child)
        except BaseException:
            os.close(self.report)
            raise
        finally:
            os.close(report_child)
        os.set_blocking(self.report, False)

    def close(self) -> None:
        """Kill the child if it runs, without waiting for its death, and close its descriptors."""
        pidfds.kill(self.pidfd)
        os.close(self.pidfd)
        os.close(self.report)


def _run(work: Callable[[], Any], kept: list[int], report: int) -> None:
    try:
        launch.close_inherited_fds(kept)
        outcome = {"result": work()}
    except BaseException as error:  # noqa: BLE001 - the child must never return into the keeper's loop
        outcome = {"error": reason_of(error), "errno": getattr(error, "errno", None)}
    try:
        data = wire.pack(outcome)
        while data:
            data = data[os.write(report, data) :]
    finally:
        os._exit(0)


class Workers:
    """The running workers."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._running: dict[int, WorkerProcess] = {}

    def __bool__(self) -> bool:
        return bool(self._running)

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._running

    def start(
        self,
        work: Callable[[], Any],
        done: Callable[[dict[str, Any]], None],
        *,
        kept: Iterable[int] = (),
        limit_s: float = float("inf"),
        owner: object = None,
    ) -> None:
        """Run `work` in a child that inherits only descriptors `kept`; after `limit_s` it is killed and has failed.

        `owner` is the engine connection on whose behalf it runs (see `drop`), None for the keeper itself. Raises OSError
        or KernelError if fork fails.
        """
        worker = WorkerProcess(work, done, kept, limit_s, owner)
        self._running[worker.report] = worker
        self._poll.register(worker.report, select.EPOLLIN)

    def serve(self, descriptor: int) -> None:
        """Read what a child has written; at EOF, pass the result to `done`."""
        worker = self._running[descriptor]
        try:
            chunk = os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:  # the event was that of another descriptor, which had this number
            return
        if chunk:
            worker.said += chunk
        else:
            try:
                outcome = wire.unpack(bytes(worker.said))
            except wire.MalformedError:  # killed before it had written all
                outcome = {"error": "the task's process was killed", "errno": None}
            self._finish(worker, outcome)

    @property
    def next_deadline_s(self) -> float:
        """The earliest deadline (monotonic clock)."""
        return min([one.deadline_s for one in self._running.values()], default=float("inf"))

    def end_late(self, now_s: float) -> None:
        """Kill the workers whose deadline has passed, and call their `done` with an error."""
        for late in [one for one in self._running.values() if now_s > one.deadline_s]:
            self._finish(late, {"error": "the task did not end in time", "errno": None})

    def drop(self, owner: object) -> None:
        """Kill the workers of `owner`, whose connection has ended."""
        for one in [one for one in self._running.values() if owner is not None and one.owner is owner]:
            self._finish(one, {"error": "the engine that asked for the task has exited", "errno": None})

    def _finish(self, worker: WorkerProcess, outcome: dict[str, Any]) -> None:
        self._poll.unregister(worker.report)
        del self._running[worker.report]
        worker.close()
        worker.done(outcome)
