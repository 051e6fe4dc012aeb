"""Paths that watching ignores: patterns below a folder, and temporary files of editors and version control. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate

from runtime.dockerignore import Ignore

# what docker compose ignores, by its manual "and more": files of Git, JetBrains, Vim, Emacs, gedit, Kate
LEFTOVERS = (
    ".git",
    ".idea",
    "*___jb_old___",
    "*___jb_tmp___",
    "*~",
    "4913",
    ".*.swp",
    ".*.swx",
    ".*.swo",
    ".*.swn",
    ".#*",
    "#*#",
    ".goutputstream-*",
    ".*.kate-swp",
)
LEFTOVER = re.compile("|".join(translate(name) for name in LEFTOVERS))


@dataclass(frozen=True)
class Patterns:
    """Patterns in the syntax of .dockerignore for paths below the folder `base`."""

    base: str
    rules: Ignore

    def match(self, path: str) -> bool:
        """Whether they match the absolute `path`, or a folder that it lies in."""
        relative = below(self.base, path)
        return bool(relative) and self.rules.excludes(relative or "")

    def match_all_below(self, folder: str) -> bool:
        """Whether they match everything in `folder`."""
        return not self.rules.has_exceptions and self.match(folder)


def below(base: str, path: str) -> str | None:
    """Return the absolute `path` as seen from `base`: "" for itself, None where it lies elsewhere."""
    if path == base:
        return ""
    prefix = base if base.endswith("/") else f"{base}/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def is_leftover(relative: str) -> bool:
    """Whether a relative path is a temporary file of a tool, or in a folder of one."""
    return any(LEFTOVER.match(name) for name in relative.split("/"))
