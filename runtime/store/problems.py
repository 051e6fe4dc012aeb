"""Files in the state root that can't be used; they are reported and left in place."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """A file or directory that is ignored; `what` says why, `cure` what to do next."""

    path: Path
    what: str
    cure: str
    is_removable: bool = False
    """Whether no known object needs it."""

    @classmethod
    def removable(cls, path: Path, what: str) -> Problem:
        """Return a problem with a file that can be removed, and the command for it."""
        flags = "-r " if path.is_dir() and not path.is_symlink() else ""
        return cls(path, what, f"nothing was deleted; to remove it: rm {flags}{shlex.quote(str(path))}", True)

    def __str__(self) -> str:
        return f"{self.path}: {self.what}\n    {self.cure}"
