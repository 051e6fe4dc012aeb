"""What lies in a state root and can't be understood: named, and left where it is."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """One file or directory that the engine goes without; `what` says why, `cure` what to do next."""

    path: Path
    what: str
    cure: str
    is_removable: bool = False
    """Whether nothing that the engine knows needs it."""

    @classmethod
    def removable(cls, path: Path, what: str) -> Problem:
        """Return a problem whose file nobody needs to keep, with the command that removes it."""
        flags = "-r " if path.is_dir() and not path.is_symlink() else ""
        return cls(path, what, f"nothing was deleted; to remove it: rm {flags}{shlex.quote(str(path))}", True)

    def __str__(self) -> str:
        return f"{self.path}: {self.what}\n    {self.cure}"
