"""What is tried before an engine starts for the first time."""

from __future__ import annotations

import os
from functools import partial

from runtime.doctor import trials
from runtime.errors import InternalError
from runtime.paths import Paths
from runtime.space import FULL
from runtime.unusable import ELSEWHERE


def check_first_start(paths: Paths) -> None:
    """See that containers can have their files in a state root that is new. Raises SkiffError, OSError."""
    if paths.format.exists() or paths.database.exists():
        return
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.tmp.mkdir(exist_ok=True, mode=0o700)
    reason = trials.run_trial(partial(trials.overlay, paths.tmp))
    if reason is not None:
        for number in FULL:
            if os.strerror(number) in reason:
                raise OSError(number, os.strerror(number), str(paths.root))
        raise InternalError(
            f"{paths.root}: containers can't have their files there: {reason}",
            f"take a local filesystem, as ext4, xfs or btrfs, no overlay and none of a network: {ELSEWHERE}",
        )
