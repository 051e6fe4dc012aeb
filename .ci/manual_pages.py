"""Adds to the wheel what is made of the sources: the manual pages."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualPages(BuildHookInterface[Any]):
    """Writes the manual pages from what the commands' help says."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the pages into a folder that lasts as long as the build; an editable install has none."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from compose.cli.manual import write

        self._folder = TemporaryDirectory(prefix="skiff-man-")
        write(Path(self._folder.name))
        build_data["shared_data"][self._folder.name] = "share/man/man1"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove them."""
        if version != "editable":
            self._folder.cleanup()
