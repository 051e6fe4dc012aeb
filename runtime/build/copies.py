"""Copies of clients' directories for the steps that mount them: without what is ignored, and steady."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import anyio
import anyio.to_thread

from runtime.build.selection import Item, Match, Sources
from runtime.build.tree import Tree
from runtime.build.writer import Owner, Writer


class HardLinks:
    """Makes files of one copy hard links of each other where those that are copied are; kept within one source."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._copied: dict[tuple[int, int, int], str] = {}

    def repeat(self, item: Item, owner: Owner | None = None) -> bool:
        """Link `item` to the copy of the same file, if there is one, and return whether; `owner` gets new directories."""
        copied = self._copied.get(_file_of(item)) if item.entry.is_file else None
        if copied is not None:
            os.link(copied, self._writer.place(item.destination, owner))
        return copied is not None

    def add(self, item: Item, location: str) -> None:
        """Record that `item` was copied to `location`."""
        if item.entry.is_file and item.entry.info.st_nlink > 1:
            self._copied[_file_of(item)] = location


def _file_of(item: Item) -> tuple[int, int, int]:
    return item.source, item.entry.info.st_dev, item.entry.info.st_ino


class ContextCopies:
    """The copies of one build's contexts, each made when a step mounts it first, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: dict[Path, Sources] = {}
        self._lock = anyio.Lock()

    def of(self, sources: Sources) -> Sources:
        """Return the copy of `sources` where there is one, else themselves."""
        return sources if sources.client is None else self._made.get(sources.client.path, sources)

    async def made(self, sources: Sources) -> Sources:
        """Return the copy of `sources`; what is no client's directory needs none. Raises ChangedError."""
        if sources.client is None:
            return sources
        async with self._lock:
            found = self._made.get(sources.client.path)
            if found is None:
                found = await anyio.to_thread.run_sync(_copy, sources, self._directory)
                self._made[sources.client.path] = found
            return found


def _copy(sources: Sources, directory: Path) -> Sources:
    target = Path(tempfile.mkdtemp(prefix="context-", dir=directory))
    target.chmod(0o755)  # a step that mounts it may run as any user
    writer = Writer(target)
    links = HardLinks(writer)
    folders = []
    for item in sources.select([Match(sources.tree.root, "/")], "/", is_directory=True):
        info, entry = item.entry.info, item.entry
        if item.kind == "top":
            continue
        if entry.is_directory:
            writer.put_directory(item.destination, Owner(), stat.S_IMODE(info.st_mode))
            folders.append(item)
        elif not links.repeat(item):
            mode, time_ns = stat.S_IMODE(info.st_mode), sources.time_ns_of(entry)
            links.add(item, writer.put_entry(item.destination, entry, Owner(), mode, time_ns, {}))
            sources.check(entry)
    for item in reversed(folders):
        time_ns = sources.time_ns_of(item.entry)
        os.utime(writer.directory(item.destination), ns=(time_ns, time_ns))
    return Sources(Tree((target,)), description=sources.description)
