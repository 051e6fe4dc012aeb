"""Stop an engine and wait for the end of its processes."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from runtime.client.blocking import Client
from runtime.errors import SkiffError

STOP_S = 60
"""How long to wait for each process: with `force`, the end of 500 containers takes 11 s on two processors."""


def stop_engine(client: Client, found: Mapping[str, Any], *, force: bool) -> None:
    """Stop the engine that is `found` (as `Client.engine` returns), and wait for it and its doorman to exit.

    With `force` its containers are killed first, and the keeper exits too. Raises SkiffError if one does not exit.
    """
    waits: dict[int, int] = {}
    try:
        for name in ("engine_pid", "doorman_pid", *(["keeper_pid"] if force else [])):
            with suppress(ProcessLookupError):
                if pid := found.get(name, 0):
                    waits[pid] = os.pidfd_open(pid)
        client.stop_engine(force=force)
        for pid, descriptor in waits.items():
            if not select.select([descriptor], [], [], STOP_S)[0]:
                raise SkiffError(
                    f"the engine has not stopped within {STOP_S} s: its process {pid} is still there",
                    f"the end of its log may say why: {found['log']}",
                )
    finally:
        for descriptor in waits.values():
            os.close(descriptor)
