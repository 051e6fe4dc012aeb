"""The steps that change files: what decides their result, and how they are done."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio.to_thread

from runtime.build import configure
from runtime.build import instructions as ins
from runtime.build.archive import is_archive, unpack
from runtime.build.arguments import PROXIES
from runtime.build.errors import DockerfileError
from runtime.build.expansion import expand_text
from runtime.build.modes import changed_mode
from runtime.build.mounts import RunMounts
from runtime.build.options import BuildOptions
from runtime.build.output import CommandOutput
from runtime.build.remote import Fetcher, RemoteFile, checked_sum, is_remote
from runtime.build.runner import RootFilesystem
from runtime.build.selection import Item, digest_items
from runtime.build.tree import Entry, Tree
from runtime.build.users import account_of, owner_of
from runtime.build.writer import Owner, Writer

if TYPE_CHECKING:
    from runtime.build.stage import StageBuilder


class Step(Protocol):
    """A step that makes a layer."""

    @property
    def identity(self) -> Any:
        """Everything, besides the parent, that decides the result, as a JSON value."""
        ...

    async def perform(self, upper: Path, directory: Path) -> None:
        """Write the step's changes to `upper`; `directory` beside it is for whatever else it needs."""
        ...


class WorkdirStep:
    """Makes the working directory where it is missing: it belongs to the stage's user."""

    def __init__(self, path: str, layers: tuple[Path, ...], owner: Owner) -> None:
        self._path = path
        self._layers = layers
        self._owner = owner
        self.identity: Any = path if owner == Owner() else [path, owner.uid, owner.gid]

    @classmethod
    async def prepare(cls, stage: StageBuilder) -> WorkdirStep:
        """Look up the user. Raises DockerfileError for one that there is not."""
        account = await anyio.to_thread.run_sync(account_of, stage.state.config.get("User") or "", stage.tree)
        return cls(stage.state.config["WorkingDir"], stage.layers, Owner(account.uid, account.gid))

    async def perform(self, upper: Path, directory: Path) -> None:
        """Make the directory, unless it is there."""
        existing = Tree(self._layers).find(self._path)
        if existing is None or not existing.is_directory:
            Writer(upper, self._layers).directory(self._path, self._owner)


@dataclass
class CopyStep:
    """COPY and ADD."""

    layers: tuple[Path, ...]
    items: list[Item]
    documents: dict[str, str]
    archives: tuple[Item, ...]
    remote: dict[str, RemoteFile]
    fetcher: Fetcher
    destination: str
    owner: Owner | None
    keeps_owner: bool
    chmod: str | None
    unpacks_remote: bool = False
    identity: Any = None

    @classmethod
    async def prepare(cls, stage: StageBuilder, instruction: ins.Copy) -> CopyStep:
        """Select and hash what is copied. Raises DockerfileError."""
        written = stage.expand(instruction.destination)
        destination = posixpath.join(stage.state.config.get("WorkingDir") or "/", written)
        tree = stage.tree
        owner = owner_of(stage.expand(instruction.chown), tree) if instruction.chown else None
        chmod = stage.expand(instruction.chmod) if instruction.chmod else None
        heredocs = {f"<<{'-' if h.strip_tabs else ''}{h.name}": h for h in instruction.heredocs}
        patterns = [stage.expand(word) for word in instruction.sources if _heredoc_key(word) not in heredocs]
        urls = [pattern for pattern in patterns if instruction.is_add and is_remote(pattern)]
        patterns = [pattern for pattern in patterns if pattern not in urls]
        checksum = stage.expand(instruction.checksum) if instruction.checksum else None
        expected = checked_sum(checksum, (patterns or urls or [""])[0])
        fetcher = Fetcher(stage.workshop.cache, stage.workshop.downloads)
        existing = await anyio.to_thread.run_sync(tree.find, destination)
        is_directory = written.endswith(("/", "/.")) or written == "." or bool(existing and existing.is_directory)
        if len(instruction.sources) > 1 and not is_directory:
            raise DockerfileError(
                "with more than one source, the destination of COPY or ADD must be a directory and end with a /",
                hint=f"write {written}/",
            )
        sources = stage.workshop.context
        if instruction.from_stage:
            sources, _ = await stage.workshop.origins.sources_of(instruction.from_stage, stage.index)
        place = posixpath.normpath("/" + destination.lstrip("/"))
        if not is_directory:
            # a single file goes to where a link in its place leads, as the last name of a path
            place = await anyio.to_thread.run_sync(tree.resolve, place)
        items = await anyio.to_thread.run_sync(
            lambda: sources.select(
                patterns,
                place,
                is_directory=is_directory,
                parents=instruction.parents,
                exclude=[stage.expand(word) for word in instruction.exclude],
            )
        )
        if len(items) > 1 and not is_directory and not any(item.is_top for item in items):
            raise DockerfileError(
                f"{instruction.sources[0]!r} matches several files, so the destination must end with a /",
                hint=f"write {written}/",
            )
        texts = {
            posixpath.join(place, heredoc.name) if is_directory else place: (
                expand_text(heredoc.content, stage.variables) if heredoc.expand else heredoc.content
            )
            for heredoc in heredocs.values()
        }
        archives: tuple[Item, ...] = ()
        if instruction.is_add and instruction.unpack is not False:
            archives = await anyio.to_thread.run_sync(_archives, items)
        remote = [await fetcher.known(url, expected) for url in urls]
        step = cls(
            stage.layers,
            [item for item in items if item not in archives],
            texts,
            archives,
            {posixpath.join(place, file.name) if is_directory else place: file for file in remote},
            fetcher,
            place,
            owner,
            bool(instruction.from_stage),
            chmod,
            unpacks_remote=bool(instruction.unpack),
        )
        digest = await anyio.to_thread.run_sync(digest_items, items, step.owner_for, step.mode_for)
        step.identity = [place, digest, texts, owner and [owner.uid, owner.gid], chmod, len(archives)]
        if remote:
            step.identity += [{path: file.digest for path, file in step.remote.items()}, step.unpacks_remote]
        return step

    def owner_for(self, entry: Entry) -> Owner:
        """Return who owns the copy of `entry`: --chown, the owner in the stage it comes from, else root."""
        if self.owner is not None:
            return self.owner
        return Owner(entry.info.st_uid, entry.info.st_gid) if self.keeps_owner else Owner()

    def mode_for(self, entry: Entry) -> int:
        """Return the permission bits of the copy of `entry`."""
        # a context's own directory is a temporary one of ours, whose mode says nothing
        mode = stat.S_IFDIR | 0o755 if entry.path == "/" and not self.keeps_owner else entry.info.st_mode
        if self.chmod is None or entry.is_link:
            return stat.S_IMODE(mode)
        return changed_mode(self.chmod, mode)

    async def perform(self, upper: Path, directory: Path) -> None:
        """Copy."""
        remote = {path: await self.fetcher.present(file) for path, file in self.remote.items()}
        await anyio.to_thread.run_sync(self._write, Writer(upper, self.layers), remote)

    def _write(self, writer: Writer, remote: Mapping[str, RemoteFile]) -> None:
        made: list[Item] = []
        for item in self.items:
            owner, mode = self.owner_for(item.entry), self.mode_for(item.entry)
            if not item.entry.is_directory:
                if posixpath.dirname(item.destination) != "/":
                    writer.directory(posixpath.dirname(item.destination), self.owner)
                writer.put_entry(item.destination, item.entry, owner, mode)
                continue
            if item.is_top and (there := writer.tree.find(item.destination)) and there.is_directory:
                continue
            if item.is_top:
                writer.directory(posixpath.dirname(item.destination), self.owner)
            writer.put_directory(item.destination, owner, mode)
            made.append(item)
        for path, text in self.documents.items():
            location = writer.place(path, self.owner)
            Path(location).write_text(text)
            mode = changed_mode(self.chmod, stat.S_IFREG | 0o644) if self.chmod else 0o644
            # here-documents have no time of their own: the epoch keeps the layer the same on every build
            writer.finish(location, self.owner or Owner(), mode, 0)
        for item in self.archives:
            self._unpack(writer, item.entry.location)
        for path, file in remote.items():
            assert file.path is not None, "it was fetched"
            if self.unpacks_remote and is_archive(file.path):
                self._unpack(writer, file.path)
                continue
            location = writer.place(path, self.owner)
            shutil.copyfile(file.path, location)
            mode = changed_mode(self.chmod, stat.S_IFREG | 0o600) if self.chmod else 0o600
            writer.finish(location, self.owner or Owner(), mode, file.mtime_ns)
        for item in reversed(made):
            modified = item.entry.info.st_mtime_ns
            os.utime(writer.directory(item.destination), ns=(modified, modified))

    def _unpack(self, writer: Writer, archive: str | Path) -> None:
        writer.directory(self.destination, self.owner)
        with open(archive, "rb") as source:
            unpack(source, writer, self.destination, keep_owner=self.owner is None, owner=self.owner)


def _heredoc_key(word: str) -> str:
    return word.replace('"', "").replace("'", "")


def _archives(items: list[Item]) -> tuple[Item, ...]:
    # only a file that is named itself is unpacked, not one found inside a copied directory
    if any(item.is_top for item in items):
        tops = tuple(item.destination + "/" for item in items if item.is_top)
        items = [item for item in items if not (item.destination + "/").startswith(tops)]
    return tuple(item for item in items if item.entry.is_file and is_archive(item.entry.location))


@dataclass
class RunStep:
    """RUN."""

    stage: StageBuilder
    instruction: ins.Run
    arguments: list[str]
    environment: dict[str, str]
    mounts: RunMounts
    identity: Any

    @classmethod
    async def prepare(cls, stage: StageBuilder, instruction: ins.Run) -> RunStep:
        """Work out the command line, environment and mounts. Raises DockerfileError."""
        config, options = stage.state.config, stage.workshop.options
        _refuse_unallowed(instruction, options)
        mounts = await RunMounts.prepare(stage, instruction)
        arguments = _arguments(instruction, config)
        declared = {**stage.state.arguments}
        undeclared = {
            name: value
            for name, value in options.build_args.items()
            if value is not None and name not in declared and name in PROXIES
        }
        stage.workshop.used_arguments.update(undeclared)
        environment = {"PATH": configure.DEFAULT_PATH, **undeclared, **declared, **configure.environment(config)}
        identity = [
            arguments, declared, configure.environment(config), config.get("User"), config.get("WorkingDir"),
            instruction.network, mounts.identity,
        ]  # fmt: skip
        if instruction.is_insecure:
            identity.append("insecure")
        return cls(stage, instruction, arguments, environment, mounts, identity)

    async def perform(self, upper: Path, directory: Path) -> None:
        """Run the command. Raises DockerfileError with exit code and last output when it fails."""
        stage, config = self.stage, self.stage.state.config
        options = stage.workshop.options
        work = directory / "work"
        work.mkdir()
        account = account_of(config.get("User") or "", stage.tree)
        environment = {"HOME": account.home, **self.environment, **self.mounts.environment}
        process: dict[str, Any] = {
            "terminal": False,
            "args": self.arguments,
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": config.get("WorkingDir") or "/",
            "user": {"uid": account.uid, "gid": account.gid, "additionalGids": list(account.groups)},
        }
        if options.ulimits:
            process["rlimits"] = [_rlimit(limit) for limit in options.ulimits]
        output = CommandOutput(stage.output)
        async with self.mounts.ready(directory) as mounts:
            exit_code = await stage.workshop.runner.run(
                RootFilesystem(stage.layers, upper, work),
                process,
                mounts,
                self.instruction.network or options.network_mode,
                output.write,
                extra_hosts=options.extra_hosts,
                shm_size_bytes=options.shm_size_bytes,
                is_privileged=self.instruction.is_insecure,
                memory_bytes=options.memory_bytes,
            )
        if exit_code:
            shown = (
                self.instruction.command.arguments[0]
                if self.instruction.command.shell_form
                else " ".join(self.arguments)
            )
            last = "\n    ".join(output.last_lines)
            raise DockerfileError(
                f"The command '{shown}' returned a non-zero code: {exit_code}",
                hint=f"its last output:\n    {last}" if last else "it printed nothing",
                exit_code=exit_code,
            )
        targets = [mount["destination"] for mount in mounts]
        await anyio.to_thread.run_sync(remove_mount_points, upper, stage.tree, targets)


def _refuse_unallowed(instruction: ins.Run, options: BuildOptions) -> None:
    wants_host = instruction.network == "host" and options.network_mode != "host"
    for is_wanted, flag, entitlement in (
        (wants_host, "--network=host", "network.host"),
        (instruction.is_insecure, "--security=insecure", "security.insecure"),
    ):
        if is_wanted and entitlement not in options.entitlements:
            raise DockerfileError(
                f"{entitlement} is not allowed: RUN {flag} reaches out of the build",
                hint=f"allow it: `entitlements: [{entitlement}]` under `build:` in the Compose file",
            )


_MOUNT_POINTS = ("/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


def _arguments(instruction: ins.Run, config: Mapping[str, Any]) -> list[str]:
    if not instruction.heredocs:
        return configure.command_line(instruction.command, config)
    line = instruction.command.arguments[0]
    first = instruction.heredocs[0]
    if line.strip() in (f"<<{first.name}", f"<<-{first.name}", f"<<'{first.name}'", f'<<"{first.name}"'):
        # the document alone is a script: for the shell, or for what its first line names
        if first.content.startswith("#!"):
            script = f"tmp=$(mktemp) && cat >\"$tmp\" <<'{first.name}'\n{first.content}{first.name}\n"
            script += 'chmod 0755 "$tmp"; "$tmp"; code=$?; rm -f "$tmp"; exit $code'
            return [*configure.DEFAULT_SHELL, script]
        return configure.command_line(ins.Command((first.content,), shell_form=True), config)
    bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in instruction.heredocs)
    return configure.command_line(ins.Command((line + bodies,), shell_form=True), config)


def _rlimit(limit: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": f"RLIMIT_{limit['Name'].upper()}", "soft": limit["Soft"], "hard": limit["Hard"]}


def remove_mount_points(upper: Path, lower: Tree, targets: list[str]) -> None:
    """Take away the empty files and directories that only served as mount points, and what was copied up for them."""
    for target in sorted({*_MOUNT_POINTS, *targets}, key=len, reverse=True):
        path = posixpath.normpath("/" + target.lstrip("/"))
        while path != "/":
            location = upper / path.lstrip("/")
            if (
                not location.exists()
                or location.is_symlink()
                or not _is_untouched(location, lower.find(path, follow=False))
            ):
                break
            location.rmdir() if location.is_dir() else location.unlink()
            path = posixpath.dirname(path)


def _is_untouched(location: Path, before: Entry | None) -> bool:
    info = location.lstat()
    if stat.S_ISDIR(info.st_mode):
        if any(location.iterdir()):
            return False
    elif not stat.S_ISREG(info.st_mode) or info.st_size:
        return False
    if before is None:
        return True
    now, then = info, before.info
    return before.is_directory and (now.st_mode, now.st_uid, now.st_gid) == (then.st_mode, then.st_uid, then.st_gid)
