"""`RUN --mount=…`: what a step sees while it runs, and what of it counts for the cache."""

from __future__ import annotations

import json
import posixpath
import shutil
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from runtime.build import certificates
from runtime.build import instructions as ins
from runtime.build.agents import relayed
from runtime.build.cache_mounts import CacheMount, CacheMounts
from runtime.build.client_directory import ChangedError
from runtime.build.copies import ContextCopies
from runtime.build.errors import DockerfileError
from runtime.build.mount_options import read_mount, size_bytes, switch
from runtime.build.selection import Match, Sources, digest_items
from runtime.build.tree import Entry
from runtime.build.writer import Owner, Writer
from runtime.linux.ownership import chown
from runtime.oci.types import OciMount

if TYPE_CHECKING:
    from runtime.build.stage import StageBuilder

AGENT_VARIABLE = "SSH_AUTH_SOCK"


@dataclass(frozen=True)
class _Secret:
    target: str
    content: bytes
    mode: int
    owner: Owner


@dataclass(frozen=True)
class _Agent:
    target: str
    socket: str
    mode: int
    owner: Owner


@dataclass(frozen=True)
class _Cache:
    target: str
    wanted: CacheMount
    is_read_only: bool


@dataclass(frozen=True)
class _Found:
    """What a mount shows: `path` of `sources`, and what decides its content."""

    sources: Sources
    path: str
    entry: Entry
    identity: str


@dataclass
class RunMounts:
    """The mounts of one RUN: those that only show something, and what is provided only while it runs.

    `environment` is what secrets and agents add to the command's variables; no part of it is in the cache's key.
    """

    caches: CacheMounts
    copies: ContextCopies
    mounts: list[OciMount] = field(default_factory=list)
    bound: list[tuple[_Found, str, bool]] = field(default_factory=list)
    """What is bound, where, and whether it can be written to."""
    cached: list[_Cache] = field(default_factory=list)
    secrets: list[_Secret] = field(default_factory=list)
    agents: list[_Agent] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    identity: list[Any] = field(default_factory=list)

    @classmethod
    async def prepare(cls, stage: StageBuilder, instruction: ins.Run) -> RunMounts:
        """Find what each mount shows. Raises DockerfileError."""
        prepared = cls(stage.workshop.caches, stage.workshop.copies)
        if bundle := stage.workshop.options.certificates:
            for path, content in certificates.files(bundle).items():
                prepared.show(path, content, 0o444)
            prepared.environment |= certificates.environment(stage.variables)
        for written in instruction.mounts:
            options = read_mount(written, stage.expand)
            workdir = stage.state.config.get("WorkingDir") or "/"
            target = posixpath.normpath(posixpath.join(workdir, options["target"])) if "target" in options else ""
            kind = options["type"]
            if target == "/":
                raise DockerfileError(
                    f"--mount={written}: invalid mount target '/'", hint="mount onto a directory below it"
                )
            if kind == "bind":
                await prepared._bind(stage, options, target)
            elif kind == "cache":
                await prepared._cache(stage, options, target)
            elif kind == "tmpfs":
                prepared._tmpfs(options, target)
            elif kind == "secret":
                prepared._secret(stage, options, target)
            else:
                prepared._ssh(stage, options, target)
        return prepared

    def show(self, path: str, content: bytes, mode: int) -> None:
        """Have the step see a file of root's, which is no part of its identity."""
        self.secrets.append(_Secret(path, content, mode, Owner()))

    async def _bind(self, stage: StageBuilder, options: Mapping[str, str], target: str) -> None:
        source = options.get("source", "/")
        found = await _found(stage, source, options.get("from"))
        is_writable = switch(options, "readwrite") or ("readonly" in options and not switch(options, "readonly"))
        self.identity.append(["bind", target, source, found.identity, is_writable])
        self.bound.append((found, target, is_writable))

    async def _cache(self, stage: StageBuilder, options: Mapping[str, str], target: str) -> None:
        fill, begins_as = None, [options.get(name) for name in ("uid", "gid", "mode")]
        mode, owner = 0o755, Owner()
        if options.get("from"):
            found = await self._still(await _found(stage, options.get("source", "/"), options["from"]))
            entry = found.entry
            if not entry.is_directory:
                raise DockerfileError(f"--mount=type=cache: {options.get('source')} is not a directory")
            fill = _Filling(entry)
            mode, owner = stat.S_IMODE(entry.info.st_mode), Owner(entry.info.st_uid, entry.info.st_gid)
            begins_as += [found.identity, entry.path]
        # caches of one ID that begin otherwise are others
        differs = json.dumps(begins_as) if any(begins_as) else ""
        wanted = CacheMount(
            f"{options.get('id') or posixpath.normpath(options['target'])} {differs}".rstrip(),
            options.get("sharing", "shared").lower(),
            int(options["mode"], 8) if "mode" in options else mode,
            Owner(int(options.get("uid", owner.uid)), int(options.get("gid", owner.gid))),
            fill,
        )
        self.cached.append(_Cache(target, wanted, switch(options, "readonly")))
        # its content is by intent no part of the result
        self.identity.append(["cache", target, wanted.name])

    async def _still(self, found: _Found) -> _Found:
        """Return `found` in a copy, where it is in a client's directory. Raises ChangedError if that has changed."""
        if found.sources.client is None:
            return found
        copy = await self.copies.made(found.sources)
        entry = copy.tree.find(found.path)
        if entry is None or await _content(copy, Match(entry, found.path)) != found.identity:
            raise ChangedError(found.path)
        return _Found(copy, found.path, entry, found.identity)

    def _tmpfs(self, options: Mapping[str, str], target: str) -> None:
        size = [f"size={size_bytes(options['size'])}"] if "size" in options else []
        self.mounts.append(
            {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", *size]}
        )
        self.identity.append(["tmpfs", target])

    def _secret(self, stage: StageBuilder, options: Mapping[str, str], target: str) -> None:
        name = options.get("id") or posixpath.basename(options.get("source") or target)
        if not name:
            raise DockerfileError("--mount=type=secret needs an id, or a target to take it from")
        content = stage.workshop.options.secrets.get(name)
        if content is None and switch(options, "required"):
            raise DockerfileError(
                f"secret {name}: not found", hint="give it to the build: `secrets:` under `build:` in the Compose file"
            )
        variable = options.get("env")
        self.identity.append(["secret", target, name, variable])
        if content is None:
            return
        if variable:
            self.environment[variable] = content.decode("utf-8", "surrogateescape")
        if target or not variable:
            mode = int(options.get("mode", "0400"), 8)
            self.secrets.append(_Secret(target or f"/run/secrets/{name}", content, mode, _owner(options)))

    def _ssh(self, stage: StageBuilder, options: Mapping[str, str], target: str) -> None:
        name = options.get("id") or "default"
        socket = stage.workshop.options.ssh.get(name)
        target = target or f"/run/buildkit/ssh_agent.{len(self.agents)}"
        self.identity.append(["ssh", target, name])
        if socket is None:
            if switch(options, "required"):
                raise DockerfileError(
                    f"no SSH agent {name!r} was given to the build", hint="give it: `ssh: [default]` under `build:`"
                )
            return
        if not self.agents:
            self.environment[AGENT_VARIABLE] = target
        self.agents.append(_Agent(target, socket, int(options.get("mode", "0600"), 8), _owner(options)))

    @asynccontextmanager
    async def ready(self, directory: Path) -> AsyncIterator[list[OciMount]]:
        """Give the OCI mounts for as long as the command runs; what is made for them lies in `directory` until then."""
        mounts = list(self.mounts)
        async with AsyncExitStack() as stack:
            # always in the same order, so that two steps cannot wait for each other
            for cache in sorted(self.cached, key=lambda cache: cache.wanted.name):
                place = await stack.enter_async_context(self.caches.used(cache.wanted))
                mounts.append(_bound(str(place), cache.target, "ro" if cache.is_read_only else "rw"))
            for number, (found, target, is_writable) in enumerate(self.bound):
                entry = (await self._still(found)).entry
                how = _discarded if is_writable else _shown
                mounts.append(await anyio.to_thread.run_sync(how, entry, target, directory / f"bind-{number}"))
            for number, secret in enumerate(self.secrets):
                file = directory / f"secret-{number}"
                stack.callback(file.unlink, missing_ok=True)
                _write_secret(file, secret)
                mounts.append(_bound(str(file), secret.target, "ro"))
            for number, agent in enumerate(self.agents):
                socket = directory / f"agent-{number}"
                await stack.enter_async_context(relayed(socket, agent.socket, agent.mode, agent.owner))
                mounts.append(_bound(str(socket), agent.target, "rw"))
            # a mount below another comes after it
            yield sorted(mounts, key=lambda mount: mount["destination"].rstrip("/").count("/"))


async def _found(stage: StageBuilder, source: str, name: str | None) -> _Found:
    """Find `source` of the context, or of the stage, context or image `name`."""
    sources, identity = stage.workshop.context, ""
    if name:
        sources, identity = await stage.workshop.origins.sources_of(name, stage.index)
    sources = stage.workshop.copies.of(sources)
    entry = sources.tree.find(source)
    if entry is None:
        raise DockerfileError(f"--mount: {source!r} not found in {sources.description}")
    path = posixpath.normpath("/" + source.lstrip("/"))
    return _Found(sources, path, entry, identity or await _content(sources, Match(entry, path)))


async def _content(sources: Sources, found: Match) -> str:
    items = await anyio.to_thread.run_sync(lambda: sources.select([found], "/", is_directory=False))
    return await anyio.to_thread.run_sync(
        digest_items, sources, items, lambda _: Owner(), lambda entry: stat.S_IMODE(entry.info.st_mode)
    )


@dataclass(frozen=True)
class _Filling:
    """The first content of a cache: a copy of a directory."""

    entry: Entry

    def __call__(self, target: Path) -> None:
        from runtime.build.tree import Tree

        source = Tree([Path(part) for part in self.entry.directories])
        writer = Writer(target)
        for entry in source.walk(source.root):
            owner, mode = Owner(entry.info.st_uid, entry.info.st_gid), stat.S_IMODE(entry.info.st_mode)
            if entry.is_directory:
                writer.put_directory(entry.path, owner, mode)
            else:
                writer.put_entry(entry.path, entry, owner, mode)


def _write_secret(file: Path, secret: _Secret) -> None:
    file.touch(0o600)
    file.write_bytes(secret.content)
    chown(str(file), secret.owner.uid, secret.owner.gid)
    file.chmod(secret.mode)


def _owner(options: Mapping[str, str]) -> Owner:
    return Owner(int(options.get("uid", "0")), int(options.get("gid", "0")))


def _bound(source: str, target: str, access: str) -> OciMount:
    return {"destination": target, "type": "bind", "source": source, "options": ["rbind", access]}


def _shown(entry: Entry, target: str, directory: Path) -> OciMount:
    """Return the mount that shows `entry`: a bind, or an overlay of the parts of a merged directory.

    `directory` is made and shown for a directory that nothing on the disk stands for, as the root of scratch.
    """
    if entry.is_directory and not entry.directories:
        directory.mkdir()
        return _bound(str(directory), target, "ro")
    if len(entry.directories) <= 1:
        return _bound(entry.location, target, "ro")
    lower = [f"lowerdir+={part}" for part in entry.directories]
    return {"destination": target, "type": "overlay", "source": "overlay", "options": [*lower, "ro"]}


def _discarded(entry: Entry, target: str, directory: Path) -> OciMount:
    """Return the mount that shows `entry` so that it can be written to; what is written goes with `directory`."""
    upper, work = directory / "upper", directory / "work"
    upper.mkdir(parents=True)
    if not entry.is_directory:
        shutil.copy2(entry.location, upper / "file")
        return _bound(str(upper / "file"), target, "rw")
    if not entry.directories:
        return _bound(str(upper), target, "rw")
    work.mkdir()
    shutil.copymode(entry.location, upper)
    options = [*(f"lowerdir+={part}" for part in entry.directories), f"upperdir={upper}", f"workdir={work}"]
    return {"destination": target, "type": "overlay", "source": "overlay", "options": options}
