"""`RUN --mount=…`: what a step sees while it runs, and what of it counts for the cache."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from runtime.build import instructions as ins
from runtime.build.errors import DockerfileError
from runtime.build.selection import Sources, digest_items
from runtime.build.tree import Entry, Tree
from runtime.build.writer import Owner

if TYPE_CHECKING:
    from runtime.build.stage import StageBuilder


@dataclass(frozen=True)
class _Secret:
    target: str
    content: bytes
    mode: int
    owner: Owner


@dataclass
class RunMounts:
    """The mounts of one RUN as OCI mounts, with the secrets whose files are written only while it runs."""

    mounts: list[dict[str, Any]]
    secrets: list[_Secret]
    identity: list[Any]

    @classmethod
    async def prepare(cls, stage: StageBuilder, instruction: ins.Run) -> RunMounts:
        """Find what each mount shows. Raises DockerfileError."""
        prepared = cls([], [], [])
        for written in instruction.mounts:
            options = {name: stage.expand(value) for name, value in written.items()}
            workdir = stage.state.config.get("WorkingDir") or "/"
            target = posixpath.normpath(posixpath.join(workdir, options["target"])) if "target" in options else ""
            kind = options["type"]
            if kind == "bind":
                await prepared._bind(stage, options, target)
            elif kind == "cache":
                prepared._cache(stage, options, target)
            elif kind == "tmpfs":
                size = [f"size={options['size']}"] if "size" in options else []
                prepared.mounts.append(
                    {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", *size]}
                )
                prepared.identity.append(["tmpfs", target])
            elif kind == "secret":
                prepared._secret(stage, options, target)
            else:
                raise DockerfileError("--mount=type=ssh is not supported", hint="pass a key with --mount=type=secret")
        return prepared

    async def _bind(self, stage: StageBuilder, options: Mapping[str, str], target: str) -> None:
        source, name = options.get("source", "/"), options.get("from")
        sources = stage.workshop.context
        if name:
            directories, identity = await stage.workshop.origins.layers_of(name, stage.index)
            sources = Sources(Tree(directories), description=repr(name))
        entry = sources.tree.find(source)
        if entry is None:
            raise DockerfileError(f"--mount: {source!r} not found in {sources.description}")
        if not name:
            items = await anyio.to_thread.run_sync(lambda: sources.select([source], target, is_directory=False))
            identity = await anyio.to_thread.run_sync(
                digest_items, items, lambda _: Owner(), lambda item: item.info.st_mode & 0o7777
            )
        self.identity.append(["bind", target, source, identity])
        self.mounts.append(_shown(entry, target))

    def _cache(self, stage: StageBuilder, options: Mapping[str, str], target: str) -> None:
        name = options.get("id", target)
        directory = stage.workshop.scratch.cache_directory(hashlib.sha256(name.encode()).hexdigest()[:32])
        if not directory.exists():
            directory.mkdir(parents=True)
            directory.chmod(int(options.get("mode", "0755"), 8))
            _give(directory, Owner(int(options.get("uid", "0")), int(options.get("gid", "0"))))
        is_read_only = options.get("readonly") == "true"
        self.mounts.append(_bound(str(directory), target, "ro" if is_read_only else "rw"))
        # its content is by intent no part of the result
        self.identity.append(["cache", target, name])

    def _secret(self, stage: StageBuilder, options: Mapping[str, str], target: str) -> None:
        name = options.get("id") or posixpath.basename(options.get("source") or target)
        content = stage.workshop.options.secrets.get(name)
        if content is None and options.get("required") == "true":
            raise DockerfileError(f"secret {name!r} is required but was not given to the build")
        target = target or f"/run/secrets/{name}"
        self.identity.append(["secret", target, name])
        if content is not None:
            owner = Owner(int(options.get("uid", "0")), int(options.get("gid", "0")))
            self.secrets.append(_Secret(target, content, int(options.get("mode", "0400"), 8), owner))

    @asynccontextmanager
    async def ready(self, directory: Path) -> AsyncIterator[list[dict[str, Any]]]:
        """Give the OCI mounts for as long as the command runs; secrets lie in `directory` meanwhile."""
        mounts = list(self.mounts)
        written: list[Path] = []
        try:
            for number, secret in enumerate(self.secrets):
                file = directory / f"secret-{number}"
                file.touch(0o600)
                written.append(file)
                file.write_bytes(secret.content)
                file.chmod(secret.mode)
                _give(file, secret.owner)
                mounts.append(_bound(str(file), secret.target, "ro"))
            yield mounts
        finally:
            for file in written:
                file.unlink(missing_ok=True)


def _give(path: Path, owner: Owner) -> None:
    if owner != Owner():
        os.chown(path, owner.uid, owner.gid)


def _bound(source: str, target: str, access: str) -> dict[str, Any]:
    return {"destination": target, "type": "bind", "source": source, "options": ["rbind", access]}


def _shown(entry: Entry, target: str) -> dict[str, Any]:
    """Return the mount that shows `entry`: a bind, or an overlay of the parts of a merged directory."""
    if len(entry.directories) <= 1:
        return _bound(entry.location, target, "ro")
    lower = [f"lowerdir+={part}" for part in entry.directories]
    return {"destination": target, "type": "overlay", "source": "overlay", "options": [*lower, "ro"]}
