"""Checks before an engine's first start in a state root."""

from __future__ import annotations

import os
from functools import partial

from runtime.doctor import rights, trials
from runtime.errors import InternalError
from runtime.linux.userns import is_initial
from runtime.paths import Paths
from runtime.space import FULL
from runtime.unusable import ELSEWHERE


def check_rights() -> None:
    """Check that root may do here what an engine must. Raises InternalError."""
    if os.geteuid() == 0 and (lack := rights.lack_of_rights()) is not None:
        raise InternalError(lack.what, lack.cure)


def check_first_start(paths: Paths) -> None:
    """Check that a new state root is on a filesystem that overlayfs supports. Raises SkiffError, OSError."""
    if paths.format.exists() or paths.database.exists():
        return
    if os.geteuid() == 0 and is_initial() and (lack := rights.lack_of_root()) is not None:
        raise InternalError(lack.what, lack.cure)
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.tmp.mkdir(exist_ok=True, mode=0o700)
    reason = trials.run_trial(partial(trials.overlay, paths.tmp))
    if reason is not None:
        for number in FULL:
            if os.strerror(number) in reason:
                raise OSError(number, os.strerror(number), str(paths.root))
        raise InternalError(
            f"{paths.root}: this filesystem can't store containers' files: {reason}",
            f"use a local filesystem such as ext4, xfs or btrfs, not an overlay or a network filesystem: {ELSEWHERE}",
        )
