"""Starting the small processes of the run directory: the keeper and the doorman."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from runtime.errors import InternalError
from runtime.linux.unwritable import unwritable
from runtime.paths import Paths

logger = logging.getLogger(__name__)

ANSWER_S = 15.0
"""How long one of them has to answer an engine that comes; both do nothing that takes long."""


def end_silent(address: Path) -> None:
    """Kill the process that listens at `address` and does not answer, as one that is stopped: another can follow.

    An engine that waits for it is of no use, and containers lose nothing: what one of the two holds, the other has too, or
    it is had back from the processes themselves.
    """
    pid = int(address.with_name(f"{address.name}.lock").read_text())
    logger.error("process %d, at %s, does not answer: it is killed for another one", pid, address)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def start_helper(paths: Paths, program: Path, address: Path) -> None:
    """Start `program`, which listens at `address`; return once it does. Raises InternalError with what it printed."""
    paths.run.mkdir(parents=True, exist_ok=True)
    ready, ready_child = os.pipe()
    interpreter = unwritable(sys.executable)
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", program, address, str(ready_child)],
            executable=sys.executable if interpreter is None else f"/proc/self/fd/{interpreter}",
            pass_fds=[ready_child] if interpreter is None else [ready_child, interpreter],
            # a container's init is the keeper's fork: it has nothing of the environment but what names the engine
            env={"SKIFF_ROOT": str(paths.root), "SKIFF_RUN": str(paths.run)},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            cwd="/",
        )
    finally:
        os.close(ready_child)
        if interpreter is not None:
            os.close(interpreter)
    said = os.read(ready, 1)
    os.close(ready)
    if not said:
        raise InternalError(f"{program.parent.name} did not start (exit {process.wait()})", f"see {paths.engine_log}")
