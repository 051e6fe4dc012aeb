"""Starts the helper processes of an engine: the keeper and the doorman."""

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
"""Timeout of an engine's first request. Neither helper ever blocks, so one that takes longer is stopped or hangs."""


def end_silent(address: Path) -> None:
    """Kill the helper that listens at `address` and does not answer, so that another can be started.

    Containers lose nothing by it: the other helper and the engine hold duplicates of its descriptors, and the rest is
    found in /proc (`KeeperClient.recover`).
    """
    pid = int(address.with_name(f"{address.name}.lock").read_text())
    logger.error("process %d, which listens at %s, does not answer: it is killed and replaced", pid, address)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def start_helper(paths: Paths, program: Path, address: Path) -> None:
    """Start `program` and return once it listens at `address`. Raises InternalError if it exits before."""
    paths.run.mkdir(parents=True, exist_ok=True)
    ready, ready_child = os.pipe()
    interpreter = unwritable(sys.executable)
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", program, address, str(ready_child)],
            executable=sys.executable if interpreter is None else f"/proc/self/fd/{interpreter}",
            pass_fds=[ready_child] if interpreter is None else [ready_child, interpreter],
            # a container's init is a fork of the keeper, with the same /proc/<pid>/environ: only what names the engine
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
