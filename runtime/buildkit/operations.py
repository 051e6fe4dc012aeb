"""Runs low-level definitions (LLB), each operation as steps of the builder for Dockerfiles.

The result of each operation is an image without a configuration; the next ones have it as a named context. Sources
(images, OCI layouts, repositories, files by HTTP, directories of the client), commands, `copy`, `mkfile` and `mkdir`,
merges, and diffs against a result that the other one stands on are run. The others are refused by their names.
(BuildKit, "solver/pb".)
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from runtime.build import instructions as ins
from runtime.build.contexts import ID_SCHEME, LAYOUT_SCHEME, STREAM_SCHEME
from runtime.build.git import is_git
from runtime.build.lines import Heredoc
from runtime.build.session import SCRATCH_IMAGE
from runtime.build.tree import Tree
from runtime.buildkit.results import SCHEME, Graph, kind_of, unserved
from runtime.buildkit.rpc import INVALID_ARGUMENT, RpcError
from runtime.engine.engine import Engine
from runtime.errors import SkiffError
from runtime.image.images import Image
from runtime.image.index import platform_document
from runtime.image.manifest import Platform

BIND, SECRET, SSH, CACHE, TMPFS = range(5)
SHARINGS = ("shared", "private", "locked")
NETWORKS = (None, "host", "none")
ACTIONS = ("copy", "mkfile", "mkdir", "rm", "symlink")
NOTHING = -1
"""What a mount or an action has as its input that begins with an empty directory."""
SOURCE = "source"
"""The named context that a step copies from."""
_SPECIAL = re.compile(r"""[\\$"']""")
_WILDCARD = re.compile(r"[*?\[\\]")
RunSteps = Callable[[str, Sequence[ins.Instruction], Mapping[str, str], str], Awaitable[Image]]
"""Builds instructions on an image or context, with named contexts, for a platform ("" for this machine's)."""


class Operations:
    """One definition that is run."""

    def __init__(self, engine: Engine, graph: Graph, run: RunSteps) -> None:
        self._engine = engine
        self._graph = graph
        self._run_steps = run
        self._made: set[str] = set()
        self.results: dict[str, Image] = {}
        """The results so far, by the digests of their operations."""

    async def run(self) -> Image:
        """Return the wanted result; the images on the way to it are removed. Raises SkiffError.

        No other definition may run at the same time: it could use them.
        """
        before = {image.id for image in self._engine.images.list()}
        wanted = ""
        try:
            result = await self._run()
            wanted = result.id
            return result
        finally:
            for id in self._made - before - {wanted}:
                with suppress(SkiffError):  # it has been removed, or is used
                    if not self._engine.images.resolve(id).references:
                        self._engine.images.remove(id, force=False, in_use=self._engine.image_api.table.user_of_image)

    async def _run(self) -> Image:
        needed, pending = set(), [self._graph.wanted]
        while pending:
            if (digest := pending.pop()) not in needed:
                needed.add(digest)
                pending += [each.digest for each in self._graph.operations[digest].inputs]
        for digest, operation in self._graph.operations.items():
            if digest not in needed:
                continue
            if any(each.digest not in self.results for each in operation.inputs):
                raise RpcError(INVALID_ARGUMENT, "the definition's operations stand before those that they need")
            if any(each.index for each in operation.inputs):
                raise unserved("a result of an operation besides its first")
            self.results[digest] = await self._perform(operation, [self.results[e.digest] for e in operation.inputs])
        return self.results[self._graph.wanted]

    async def _perform(self, operation: Any, inputs: list[Image]) -> Image:
        kind = kind_of(operation)
        platform = _platform_of(operation)
        if kind == "source":
            return await self._source(operation.source, platform)
        if kind == "exec":
            return await self._exec(operation.exec, inputs, platform)
        if kind == "file":
            return await self._file(operation.file, inputs)
        if kind == "merge":
            merged = [_input(inputs, one.input) for one in operation.merge.inputs]
            return await self._bare([diff_id for image in merged if image is not None for diff_id in image.diff_ids])
        if kind == "diff":
            return await self._diff(operation.diff, inputs)
        raise unserved(f"the operation {kind!r}")

    async def _bare(self, diff_ids: Sequence[str]) -> Image:
        """Return an image of layers alone: no environment, user or trigger of it reaches what stands on it."""
        document = {
            **platform_document(Platform.host()),
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        }
        image = await self._engine.images.register(document)
        self._made.add(image.id)
        return image

    async def _steps(
        self,
        base: Image | str | None,
        steps: Sequence[ins.Instruction],
        contexts: Mapping[str, Image],
        platform: str = "",
    ) -> Image:
        """Do `steps` on `base`: a result, the name of an image or of a context, or nothing."""
        named = {name: ID_SCHEME + image.id for name, image in contexts.items()}
        if isinstance(base, Image):
            named["base"] = ID_SCHEME + base.id
        on = base if isinstance(base, str) else "base" if base is not None else SCRATCH_IMAGE
        return await self._result_of(on, steps, named, platform)

    async def _result_of(
        self, base: str, steps: Sequence[ins.Instruction], contexts: Mapping[str, str], platform: str
    ) -> Image:
        image = await self._run_steps(base, steps, contexts, platform)
        self._made.add(image.id)
        return await self._bare(image.diff_ids)

    # --- sources

    async def _source(self, source: Any, platform: str) -> Image:
        scheme, _, place = source.identifier.partition("://")
        attributes = dict(source.attrs)
        if f"{scheme}://" == SCHEME:
            return await self._bare(self._engine.images.resolve(place).diff_ids)
        if scheme == "docker-image":
            return await self._steps(place, (), {}, platform)
        if scheme in ("http", "https"):
            name = attributes.get("http.filename") or posixpath.basename(urlsplit(source.identifier).path) or "download"
            add = ins.Copy(
                "ADD", 0, (_word(source.identifier),), _word(f"/{name}"), is_add=True, unpack=False,
                checksum=attributes.get("http.checksum") or None, chmod=_octal(attributes.get("http.perm", "")),
            )  # fmt: skip
            return await self._steps(None, (add,), {})
        if scheme == "git":
            repository, mark, what = place.partition("#")
            url = f"{attributes.get('git.fullurl') or f'https://{repository}'}{mark}{what}"
            if not is_git(url):
                raise unserved(f"the source {url}, an address of a repository that does not end in .git,")
            keeps = attributes.get("git.keepgitdir") == "true"
            add = ins.Copy("ADD", 0, (_word(url),), "/", is_add=True, keep_git_dir=keeps)
            return await self._steps(None, (add,), {})
        if scheme == "local":
            for name in ("includepattern", "followpaths"):
                if _patterns(attributes.get(f"local.{name}", "")):
                    raise unserved(f"a directory of the client with local.{name}")
            excluded = tuple(map(_word, _patterns(attributes.get("local.excludepatterns", ""))))
            copy = ins.Copy("COPY", 0, (".",), "/", from_stage=SOURCE, exclude=excluded)
            return await self._result_of(SCRATCH_IMAGE, (copy,), {SOURCE: STREAM_SCHEME + place}, "")
        if scheme == "oci-layout":
            digest = place.partition("@")[2]
            store = attributes.get("oci.store") or place.partition("@")[0].partition("/")[0]
            return await self._result_of(SOURCE, (), {SOURCE: f"{LAYOUT_SCHEME}{store}@{digest}"}, platform)
        raise unserved(f"the source {scheme}://")

    # --- commands

    async def _exec(self, operation: Any, inputs: list[Image], platform: str) -> Image:
        meta = operation.meta
        for is_set, what in (
            (meta.extraHosts, "a command with names of hosts (extraHosts)"),
            (meta.validExitCodes, "a command with exit codes of its own (validExitCodes)"),
            (operation.network not in range(len(NETWORKS)), "a command with an unknown network"),
        ):
            if is_set:
                raise unserved(what)
        mounts = [one for one in operation.mounts if one.dest != "/"]
        root = next((one for one in operation.mounts if one.dest == "/"), None)
        if root is None:
            raise RpcError(INVALID_ARGUMENT, "a command of the definition has no root")
        if root.readonly or root.selector or root.output:
            raise unserved("a command whose root is not its first result")
        contexts: dict[str, Image] = {}
        written = [_mount(one, inputs, contexts) for one in mounts]
        for one in operation.secretenv:
            written.append(f"type=secret,id={one.ID},env={one.name},required={str(not one.optional).lower()}")
        steps: list[ins.Instruction] = []
        if meta.env:
            pairs = (one.partition("=") for one in meta.env)
            steps.append(ins.Env("ENV", 0, tuple((name, _word(value)) for name, _, value in pairs)))
        if meta.cwd not in ("", "/"):
            steps.append(ins.Workdir("WORKDIR", 0, _word(meta.cwd)))
        if meta.user:
            steps.append(ins.User("USER", 0, _word(meta.user)))
        command = ins.Command(tuple(meta.args), shell_form=False)
        steps.append(
            ins.Run(
                f"RUN {' '.join(meta.args)}",
                0,
                command,
                tuple(written),
                tuple(contexts),
                network=NETWORKS[operation.network],
                is_insecure=operation.security == 1,
            )  # fmt: skip
        )
        return await self._steps(_input(inputs, root.input), steps, contexts, platform)

    # --- files

    async def _file(self, operation: Any, inputs: list[Image]) -> Image:
        """Do the actions, whose inputs are those of the operation, and after them what the actions made."""
        made, result = list(inputs), None
        for action in operation.actions:
            base = _input(made, action.input)
            kind = next((one for one in ACTIONS if action.HasField(one)), "unknown")
            if kind == "copy":
                source = _input(made, action.secondaryInput)
                if source is None:
                    raise RpcError(INVALID_ARGUMENT, "an action of the definition copies from nothing")
                made.append(await self._steps(base, (self._copy(action.copy, base, source),), {SOURCE: source}))
            elif kind == "mkfile":
                made.append(await self._steps(base, (_mkfile(action.mkfile),), {}))
            elif kind == "mkdir":
                made.append(await self._steps(base, _mkdir(action.mkdir), {}))
            else:
                raise unserved(f"the file operation {kind!r}")
            if action.output > 0:
                raise unserved("a result of an operation besides its first")
            if action.output == 0:
                result = made[-1]
        if result is None:
            raise RpcError(INVALID_ARGUMENT, "an operation of the definition has no result")
        return result

    def _copy(self, action: Any, base: Image | None, source: Image) -> ins.Copy:
        """Return what copies as `action` says, which takes a directory as such unless it wants its content."""
        if action.include_patterns:
            raise unserved("a copy with patterns of what is included")
        if action.timestamp > 0:
            raise unserved("a copy with a time of its own")
        path, destination = posixpath.normpath("/" + action.src), action.dest or "/"
        if not action.dirCopyContents and not action.attemptUnpackDockerCompatibility:
            entry = Tree(self._engine.images.layer_directories(source)).find(path)
            if entry is not None and entry.is_directory:
                there = None
                if base is not None:
                    there = Tree(self._engine.images.layer_directories(base)).find(
                        posixpath.normpath("/" + destination)
                    )
                if posixpath.normpath("/" + destination) == "/" or (there is not None and there.is_directory):
                    destination = posixpath.join(destination, posixpath.basename(path))
            elif action.allowWildcard and _WILDCARD.search(path):
                raise unserved("a copy of what a pattern finds, directories as such,")
        if not action.allowWildcard:
            path = _WILDCARD.sub(lambda found: f"[{found[0]}]" if found[0] != "\\" else "\\\\", path)
        return ins.Copy(
            "ADD" if action.attemptUnpackDockerCompatibility else "COPY", 0, (_word(path),), _word(destination),
            from_stage=SOURCE, unpack=action.attemptUnpackDockerCompatibility, chown=_owner(action.owner),
            chmod=action.modeStr or (f"{action.mode:o}" if action.mode >= 0 else None),
            exclude=tuple(map(_word, action.exclude_patterns)),
        )  # fmt: skip

    async def _diff(self, operation: Any, inputs: list[Image]) -> Image:
        lower, upper = (
            image.diff_ids if (image := _input(inputs, one.input)) is not None else ()
            for one in (operation.lower, operation.upper)
        )
        if list(upper[: len(lower)]) != list(lower):
            raise unserved("a difference (diff) from a result that the other one does not stand on")
        return await self._bare(upper[len(lower) :])


def _input(results: Sequence[Image], number: int) -> Image | None:
    if number < NOTHING or number >= len(results):
        raise RpcError(INVALID_ARGUMENT, "an operation of the definition has an input that is not there")
    return None if number == NOTHING else results[number]


def _platform_of(operation: Any) -> str:
    if not operation.HasField("platform") or not operation.platform.OS:
        return ""
    wanted = operation.platform
    return "/".join(part for part in (wanted.OS, wanted.Architecture, wanted.Variant) if part)


def _word(text: str) -> str:
    """Return `text` as a word of a Dockerfile that means nothing else."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def _patterns(text: str) -> list[str]:
    """Return a list of patterns of its JSON; empty for none. Raises RpcError."""
    try:
        found = json.loads(text or "[]") or []
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise RpcError(INVALID_ARGUMENT, f"{text!r} in the definition is no list of patterns")
    return found


def _octal(mode: str) -> str | None:
    """Return a mode as COPY takes it of one written in digits, as in "0644" or "420"."""
    try:
        return None if not mode else f"{int(mode, 8 if mode.startswith('0') else 10):o}"
    except ValueError:
        raise RpcError(INVALID_ARGUMENT, f"{mode!r} in the definition is no mode") from None


def _owner(owner: Any) -> str | None:
    names = []
    for kind in ("user", "group"):
        if owner.HasField(kind):
            one = getattr(owner, kind)
            if one.HasField("byName") and one.byName.name and not one.byName.name.isdigit():
                raise unserved(f"an owner by name ({one.byName.name})")
            names.append(one.byName.name if one.HasField("byName") else str(one.byID))
    return ":".join(names) or None


def _mkfile(action: Any) -> ins.Copy:
    try:
        text = action.data.decode()
    except UnicodeDecodeError:
        raise unserved("a file (mkfile) whose content is not UTF-8") from None
    if action.timestamp > 0:
        raise unserved("a file (mkfile) with a time of its own")
    heredoc = Heredoc("FILE", text, expand=False)
    return ins.Copy(
        "COPY", 0, ("<<FILE",), _word(action.path), chown=_owner(action.owner), chmod=f"{action.mode & 0o7777:o}",
        heredocs=(heredoc,),
    )  # fmt: skip


def _mkdir(action: Any) -> Sequence[ins.Instruction]:
    if _owner(action.owner) is not None or action.mode & 0o7777 != 0o755 or action.timestamp > 0:
        raise unserved("a directory (mkdir) with an owner, a time or a mode besides 0755")
    return (ins.Workdir("WORKDIR", 0, _word(action.path)),)


def _mount(mount: Any, inputs: Sequence[Image], contexts: dict[str, Image]) -> str:
    """Return a mount as RUN has it written; results that it shows are added to `contexts`."""
    parts = [f"target={_field(mount.dest)}"]
    if mount.output > 0:
        raise unserved("a result of an operation besides its first")
    shown = _input(inputs, mount.input)
    if mount.mountType in (BIND, CACHE) and shown is not None:
        name = f"input-{mount.input}"
        contexts[name] = shown
        parts += [f"from={name}", f"source={_field(mount.selector or '/')}"]
    if mount.mountType == BIND:
        if shown is None:
            raise unserved("a mount of an empty directory that is no tmpfs")
        return ",".join(["type=bind", *parts, *([] if mount.readonly else ["rw"])])
    if mount.mountType == CACHE:
        sharing = SHARINGS[mount.cacheOpt.sharing] if mount.cacheOpt.sharing in range(len(SHARINGS)) else SHARINGS[0]
        about = [f"id={_field(mount.cacheOpt.ID)}", f"sharing={sharing}"]
        return ",".join(["type=cache", *parts, *about, *(["ro"] if mount.readonly else [])])
    if mount.mountType == TMPFS:
        return ",".join(["type=tmpfs", *parts, *([f"size={mount.TmpfsOpt.size}"] if mount.TmpfsOpt.size else [])])
    if mount.mountType in (SECRET, SSH):
        one = mount.secretOpt if mount.mountType == SECRET else mount.SSHOpt
        about = [f"id={_field(one.ID)}", f"uid={one.uid}", f"gid={one.gid}", f"mode={one.mode:o}"]
        kind = "secret" if mount.mountType == SECRET else "ssh"
        return ",".join([f"type={kind}", *parts, *about, f"required={str(not one.optional).lower()}"])
    raise unserved("a mount of an unknown type")


def _field(value: str) -> str:
    """Return `value` in a mount's flag, a row of CSV whose words are expanded."""
    if re.search(r'[,"\r\n]', value):
        raise unserved(f"a mount with {value!r}")
    return _word(value)
