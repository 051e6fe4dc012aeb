"""COPY and ADD: what they bring decides the cache's key first, and is written then."""

from __future__ import annotations

import itertools
import os
import posixpath
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from runtime.build import instructions as ins
from runtime.build.archive import is_archive, unpack
from runtime.build.arguments import epoch
from runtime.build.copies import HardLinks
from runtime.build.direct_copy import DirectCopy, NotDirectError, Rules
from runtime.build.expansion import expand_text
from runtime.build.foundation import Fact, foundation
from runtime.build.git import Commit, GitFetcher, is_git, parse_git
from runtime.build.modes import changed_mode, checked_mode, directory_mode
from runtime.build.remote import Fetcher, RemoteFile, checked_sum, is_remote
from runtime.build.selection import Item, Match, Sources, digest_items
from runtime.build.tree import Entry, Tree
from runtime.build.writer import Owner, Writer

if TYPE_CHECKING:
    from runtime.build.stage import StageBuilder

DOCUMENT_MODE, REMOTE_MODE = stat.S_IFREG | 0o644, stat.S_IFREG | 0o600


@dataclass
class CopyStep:
    """COPY and ADD.

    `items`, which are of `sources`, and `archives` (those that are unpacked) come in the order in which they are written.
    """

    layers: tuple[Path, ...]
    sources: Sources
    items: list[Item]
    archives: frozenset[int]
    """Which of the items, by number, are unpacked."""
    documents: dict[str, str]
    remote: dict[str, RemoteFile]
    fetcher: Fetcher
    destination: str
    owner: Owner | None
    keeps_owner: bool
    chmod: str | None
    git: GitFetcher
    commits: list[Commit]
    exclude: list[str]
    unpacks_remote: bool = False
    time_ns: int | None = None
    """What every copy is dated ($SOURCE_DATE_EPOCH), nanoseconds; None for the time of what is copied."""
    identity: Any = None
    created_by: str | None = None
    foundation: list[Fact] | None = None

    @classmethod
    async def prepare(cls, stage: StageBuilder, instruction: ins.Copy) -> CopyStep:
        """Select and hash what is copied. Raises DockerfileError."""
        written = stage.expand(instruction.destination)
        destination = posixpath.join(stage.state.config.get("WorkingDir") or "/", written)
        tree = stage.tree
        chown = stage.expand(instruction.chown or "")
        owner = stage.owner(chown) if chown else None
        chmod = checked_mode(stage.expand(instruction.chmod or "0")) if stage.expand(instruction.chmod or "") else None
        heredocs = {f"<<{'-' if h.strip_tabs else ''}{h.name}": h for h in instruction.heredocs}
        patterns = [stage.expand(word) for word in instruction.sources if _heredoc_key(word) not in heredocs]
        urls = [pattern for pattern in patterns if instruction.is_add and is_remote(pattern)]
        patterns = [pattern for pattern in patterns if pattern not in urls]
        checksum = stage.expand(instruction.checksum) if instruction.checksum else None
        git = GitFetcher(stage.workshop.downloads, stage.workshop.options)
        keeps_git = instruction.keep_git_dir
        commits = [
            await git.resolve(parse_git(url, checksum or "", keeps_git=keeps_git)) for url in urls if is_git(url)
        ]
        urls = [url for url in urls if not is_git(url)]
        expected = checked_sum(checksum, (patterns or urls)[0]) if patterns or urls else None
        fetcher = Fetcher(stage.workshop.cache, stage.workshop.downloads)
        sources = stage.workshop.context
        if instruction.from_stage:
            sources, _ = await stage.workshop.origins.sources_of(instruction.from_stage, stage.index)
        matches = await anyio.to_thread.run_sync(lambda: sources.find(patterns, parents=instruction.parents))
        place = posixpath.normpath("/" + destination.lstrip("/"))
        existing = await anyio.to_thread.run_sync(tree.find, place)
        ends_as_directory = written.endswith(("/", "/.")) or written in ("", ".")
        # several sources have room in a directory alone
        is_several = len(matches) + len(urls) + len(commits) + len(heredocs) > 1
        is_directory = ends_as_directory or is_several or bool(existing and existing.is_directory)
        if not is_directory:
            # a single file goes to where a link in its place leads, as the last name of a path
            place = await anyio.to_thread.run_sync(tree.resolve, place)
        exclude = [stage.expand(word) for word in instruction.exclude]
        items = await anyio.to_thread.run_sync(
            lambda: sources.select(matches, place, is_directory=is_directory, exclude=exclude)
        )
        texts = {
            posixpath.join(place, heredoc.name) if is_directory else place: (
                expand_text(heredoc.content, stage.variables, seen=stage.uses) if heredoc.expand else heredoc.content
            )
            for heredoc in heredocs.values()
        }
        archives: frozenset[int] = frozenset()
        unpacks = instruction.is_add if instruction.unpack is None else instruction.unpack
        if unpacks and not instruction.parents:
            archives = await anyio.to_thread.run_sync(_archives, items)
        remote = [await fetcher.known(url, expected) for url in urls]
        seconds = epoch(stage.workshop.options)
        step = cls(
            stage.layers,
            sources,
            items,
            archives,
            texts,
            {posixpath.join(place, file.name) if is_directory else place: file for file in remote},
            fetcher,
            place,
            owner,
            bool(instruction.from_stage),
            chmod,
            unpacks_remote=bool(instruction.unpack),
            time_ns=None if seconds is None else seconds * 10**9,
            git=git,
            commits=commits,
            exclude=exclude,
        )
        digest = await anyio.to_thread.run_sync(digest_items, sources, items, step.owner_for, step.mode_for)
        step.identity = [place, digest, texts, owner and [owner.uid, owner.gid], chmod, sorted(archives)]
        if remote:
            step.identity += [{path: file.digest for path, file in step.remote.items()}, step.unpacks_remote]
        if commits:
            step.identity += [[one.hash, one.source.folder, one.source.keeps_git, exclude] for one in commits]
        if ends_as_directory and matches and not items:
            step.identity.append("directory")
        if instruction.is_link and not archives and not commits and not step.unpacks_remote:
            places = [place, *texts, *step.remote, *(item.destination for item in items)]
            step.foundation = await anyio.to_thread.run_sync(foundation, tree, places)
        return step

    def owner_for(self, entry: Entry) -> Owner:
        """Return who owns the copy of `entry`: --chown, the owner in the stage it comes from, else root."""
        if self.owner is not None:
            return self.owner
        return self.sources.owner_of(entry) if self.keeps_owner else Owner()

    def mode_for(self, entry: Entry) -> int:
        """Return the permission bits of the copy of `entry`."""
        if self.chmod is None or entry.is_link:
            return stat.S_IMODE(entry.info.st_mode)
        return changed_mode(self.chmod, entry.info.st_mode)

    def directly(self) -> DirectCopy | None:
        """Return the copy for which no file has to be created; None if there is none. Blocking."""
        if self.archives or self.documents or self.remote or self.commits or self.time_ns is not None:
            return None
        mode = directory_mode(self.chmod)
        rules = Rules(self.owner_for, self.mode_for, self.owner or Owner(), mode, self.keeps_owner)
        try:
            return DirectCopy(self.layers, self.sources, self.items, rules)
        except NotDirectError:
            return None

    async def perform(self, upper: Path, directory: Path) -> None:
        """Copy."""
        remote = {path: await self.fetcher.present(file) for path, file in self.remote.items()}
        for commit in self.commits:
            tree = Tree((await self.git.checkout(commit),))
            whole = Match(tree.root, "/")
            self.items += Sources(tree).select([whole], self.destination, is_directory=True, exclude=self.exclude)
        writer = Writer(upper, self.layers, directory_mode(self.chmod))
        await anyio.to_thread.run_sync(self._write, writer, remote)

    def _write(self, writer: Writer, remote: Mapping[str, RemoteFile]) -> None:
        links = HardLinks(writer)
        numbered = enumerate(self.items)
        for _, group in itertools.groupby(numbered, key=lambda pair: pair[1].source):
            # a directory's time is its source's until a later source puts something into it
            made = [item for number, item in group if self._item(writer, number, item, links)]
            for item in reversed(made):
                modified = self._time(self.sources.time_ns_of(item.entry))
                os.utime(writer.directory(item.destination), ns=(modified, modified))
        for path, text in self.documents.items():
            location = writer.place(path, self.owner)
            Path(location).write_text(text)
            self._finish(writer, location, DOCUMENT_MODE, None)
        for path, file in remote.items():
            assert file.path is not None, "it was fetched"
            if self.unpacks_remote and is_archive(file.path):
                self._unpack(writer, file.path)
                continue
            location = writer.place(path, self.owner)
            shutil.copyfile(file.path, location)
            self._finish(writer, location, REMOTE_MODE, file.mtime_ns)

    def _item(self, writer: Writer, number: int, item: Item, links: HardLinks) -> bool:
        """Write one item; return whether it is a directory that takes its source's time."""
        if number in self.archives:
            self._unpack(writer, item.entry.location)
            self.sources.check(item.entry)
            return False
        if item.kind == "top":
            # what is there keeps its mode and owner, and what is made is no copy of the source
            writer.directory(item.destination, self.owner)  # refused where it can't be one
            # a context's own directory is a temporary one of ours, whose time says nothing; scratch has none
            return item.entry.location != "" and (item.entry.path != "/" or self.keeps_owner)
        if item.kind == "parent":
            is_there = writer.has(item.destination)
            writer.directory(posixpath.dirname(item.destination), self.owner)
            self._directory(writer, item, keeps_owner=is_there)
            return not is_there
        if posixpath.dirname(item.destination) != "/":
            writer.directory(posixpath.dirname(item.destination), self.owner)
        if item.entry.is_directory:
            self._directory(writer, item)
            return True
        self._file(writer, item, links)
        return False

    def _time(self, time_ns: int) -> int:
        return time_ns if self.time_ns is None else self.time_ns

    def _finish(self, writer: Writer, location: str, mode: int, time_ns: int | None) -> None:
        """Finish a file that has no owner of its own; its time is now where `time_ns` is None."""
        own = os.stat(location).st_mtime_ns if time_ns is None else time_ns
        changed = changed_mode(self.chmod, mode) if self.chmod else mode
        writer.finish(location, self.owner or Owner(), changed, self._time(own))

    def _directory(self, writer: Writer, item: Item, *, keeps_owner: bool = False) -> None:
        """Make a directory as the source's is; one that is there already takes its attributes, a parent the mode alone."""
        writer.put_directory(
            item.destination,
            None if keeps_owner else self.owner_for(item.entry),
            self.mode_for(item.entry) if not keeps_owner else stat.S_IMODE(item.entry.info.st_mode),
            xattrs={} if keeps_owner else self.sources.xattrs_of(item.entry),
        )

    def _file(self, writer: Writer, item: Item, links: HardLinks) -> None:
        """Copy a file; one that is a hard link of another of the same source becomes one of its copy."""
        if links.repeat(item, self.owner):
            return
        location = writer.put_entry(
            item.destination,
            item.entry,
            self.owner_for(item.entry),
            self.mode_for(item.entry),
            self._time(self.sources.time_ns_of(item.entry)),
            self.sources.xattrs_of(item.entry),
        )
        self.sources.check(item.entry)
        links.add(item, location)

    def _unpack(self, writer: Writer, archive: str | Path) -> None:
        writer.directory(self.destination, self.owner, 0o755)
        with open(archive, "rb") as source:
            unpack(source, writer, self.destination, keep_owner=self.owner is None, owner=self.owner)


def _heredoc_key(word: str) -> str:
    # a number in front is a file descriptor, which means something to RUN alone
    return word.replace('"', "").replace("'", "").lstrip("0123456789") if "<<" in word else word


def _archives(items: list[Item]) -> frozenset[int]:
    # only a file that is named itself is unpacked, not one found inside a copied directory
    return frozenset(
        number
        for number, item in enumerate(items)
        if item.is_named and item.entry.is_file and is_archive(item.entry.location)
    )
