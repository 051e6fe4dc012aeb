"""The `dockerfile.v0` frontend: a client's options and files made a build of our own.

Source: Dockerfile frontend's options as buildx sends them (BuildKit, "frontend/dockerfile").
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.build import instructions as ins
from runtime.build.archive import unpack_context
from runtime.build.contexts import (
    ID_SCHEME,
    IMAGE_SCHEME,
    LAYOUT_SCHEME,
    STREAM_SCHEME,
    inside,
    named_contexts,
)
from runtime.build.git import AGENT, GitFetcher, auth_secrets, is_git, parse_git
from runtime.build.graph import reads_from
from runtime.build.mount_options import read_mount
from runtime.build.options import ENTITLEMENTS, BuildOptions
from runtime.build.parser import parse_trigger
from runtime.build.remote import is_remote
from runtime.build.request import BuildRequest, parse_bytes
from runtime.buildkit.agents import forwarded_agent
from runtime.buildkit.contexts import Contexts
from runtime.buildkit.filesync import receive_directory
from runtime.buildkit.progress import Progress
from runtime.buildkit.rpc import UNIMPLEMENTED, RpcError, calling
from runtime.buildkit.schema import BYTES
from runtime.buildkit.sessions import Session
from runtime.dockerignore import Ignore
from runtime.errors import BadRequestError, SkiffError
from runtime.image.manifest import Platform
from runtime.image.reference import Reference

CONTEXT, DOCKERFILE = "context", "dockerfile"
UPLOADED = "http://buildkit-session/"
"""How the address of an archive begins that the client hands over itself (`docker build - < context.tar`)."""
UPLOAD = "/moby.upload.v1.Upload/Pull"
HUB = "registry-1.docker.io"
"""What the client's credentials know Docker Hub by."""
TriggersOf = Callable[[str], Sequence[str] | None]
_GLOB = re.compile(r"[*?\[\\$]")


@dataclass(frozen=True)
class Content:
    """A Dockerfile as the client has it, and the text of the .dockerignore that is its own."""

    name: str
    data: bytes
    ignore: str | None

    def parsed(self) -> ParsedDockerfile:
        """Return what it says. Raises DockerfileError."""
        own = f"{self.name}.dockerignore"
        ignore = None if self.ignore is None else (self.ignore, Ignore.parse(self.ignore, own))
        return ParsedDockerfile(self.name, self.data, parse_bytes(self.data, self.name), ignore)


@dataclass(frozen=True)
class ParsedDockerfile:
    """A Dockerfile, parsed."""

    name: str
    data: bytes
    parsed: ins.Dockerfile
    ignore: tuple[str, Ignore] | None


def cache_sources(imports: Sequence[Any]) -> tuple[str, ...]:
    """Return the images that the build may take steps from, of those caches that a client names."""
    names = (one.Attrs["ref"] for one in imports if one.Type == "registry" and one.Attrs.get("ref"))
    return tuple(dict.fromkeys(names))


def options_of(
    attributes: Mapping[str, str], entitlements: Sequence[str], cache_from: tuple[str, ...] = ()
) -> BuildOptions:
    """Return the options that frontend attributes ask for. Raises RpcError, BadRequestError for what can't be."""
    context = attributes.get(CONTEXT, "")
    if "://" in context and not context.startswith(UPLOADED) and not is_git(context):
        raise RpcError(
            UNIMPLEMENTED,
            f"the build context {context} is no directory of the client's: clone or unpack it, and build that",
        )
    if "attest:sbom" in attributes:
        raise RpcError(UNIMPLEMENTED, "this engine scans no images for SBOM attestations: build without --sbom")
    prefixed: dict[str, dict[str, str]] = {"build-arg": {}, "label": {}, CONTEXT: {}}
    for name, value in attributes.items():
        kind, colon, rest = name.partition(":")
        if colon and kind in prefixed:
            prefixed[kind][rest] = value
    hosts = [entry.split("=", 1) for entry in attributes.get("add-hosts", "").split(",") if entry]
    return BuildOptions(
        dockerfile=attributes.get("filename") or "Dockerfile",
        build_args=prefixed["build-arg"],
        target=attributes.get("target") or None,
        no_cache=attributes.get("no-cache") == "",
        no_cache_filter=frozenset(name for name in attributes.get("no-cache", "").split(",") if name),
        pull=attributes.get("image-resolve-mode") == "pull",
        labels=prefixed["label"],
        network_mode={"sandbox": "default"}.get(mode := attributes.get("force-network-mode", ""), mode) or "default",
        extra_hosts=tuple(":".join(one) for one in hosts),
        shm_size_bytes=int(attributes.get("shm-size") or 0),
        ulimits=tuple(_ulimit(one) for one in attributes.get("ulimit", "").split(",") if one),
        platform=attributes.get("platform") or None,
        cache_from=cache_from,
        contexts={name: _context(name, value) for name, value in prefixed[CONTEXT].items()},
        entitlements=frozenset(one for one in entitlements if one in ENTITLEMENTS),
    )


def platforms_of(attributes: Mapping[str, str]) -> list[Platform]:
    """Return the platforms that a build is for, each once. Raises BadRequestError."""
    written = [one for one in attributes.get("platform", "").split(",") if one]
    return list(dict.fromkeys(Platform.parse(one) for one in written))


def _context(name: str, value: str) -> str:
    """Return a named context in the words of our options."""
    scheme, _, rest = value.partition(":")
    if scheme == "local":
        return STREAM_SCHEME + rest
    if value.startswith((IMAGE_SCHEME, ID_SCHEME, LAYOUT_SCHEME)) or is_git(value):
        return value
    raise RpcError(
        UNIMPLEMENTED,
        f"the build context {name!r} is {value}, and this engine takes directories, docker-image://, "
        "oci-layout:// and Git repositories alone",
    )


def _ulimit(text: str) -> dict[str, Any]:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}


async def read_file(
    session: Session, options: BuildOptions, scratch: Path, progress: Progress, uploaded: Path | None = None
) -> Content:
    """Fetch the Dockerfile, with the .dockerignore that goes with it, or read it in `uploaded`. Raises SkiffError."""
    folder = uploaded or scratch / DOCKERFILE
    folder.mkdir(exist_ok=True)
    name = options.dockerfile
    own = f"{name}.dockerignore"
    with progress.vertex(f"[internal] load build definition from {posixpath.basename(name)}") as vertex:
        progress.definition = vertex.digest
        if uploaded is None:
            size = await receive_directory(session, DOCKERFILE, folder, follows=[name, own])
            vertex.status("transferring dockerfile:", size, size, is_done=True)
        file = inside(folder, name)
        if file is None or not file.is_file():
            raise BadRequestError(f"failed to read dockerfile: open {name}: no such file or directory")
        data = file.read_bytes()
    ignore = folder / own
    return Content(name, data, ignore.read_text() if ignore.is_file() else None)


async def receive_repository(session: Session, url: str, scratch: Path) -> Path:
    """Fetch the Git repository that is the build context; return its directory in `scratch`. Raises SkiffError."""
    source = parse_git(url)
    secrets = {id: secret for id in auth_secrets(source) if (secret := await session.secret(id)) is not None}
    async with AsyncExitStack() as stack:
        agents = {}
        if source.needs_agent:
            with suppress(RpcError):  # the fetcher says what is missing
                agents[AGENT] = await stack.enter_async_context(forwarded_agent(session, AGENT, scratch))
        git = GitFetcher(scratch, BuildOptions(secrets=secrets, ssh=agents))
        return await git.checkout(await git.resolve(source))


async def receive_upload(session: Session, url: str, directory: Path) -> None:
    """Unpack the archive that the client has at `url` into the empty `directory`. Raises RpcError, BadRequestError."""
    host, _, path = url.removeprefix("http://").partition("/")
    async with calling(session.connection, UPLOAD, [("urlpath", f"/{path}"), ("urlhost", host)]) as call:

        async def chunks() -> AsyncIterator[bytes]:
            while (piece := await call.receive(BYTES)) is not None:
                yield piece.data

        await unpack_context(chunks(), directory)


@asynccontextmanager
async def prepared(
    session: Session,
    source: ParsedDockerfile,
    options: BuildOptions,
    scratch: Path,
    contexts: Contexts,
    progress: Progress,
    triggers_of: TriggersOf,
    uploaded: Path | None = None,
) -> AsyncIterator[BuildRequest]:
    """Give the build of `source`, with everything of the client's that it needs, until the block ends.

    `triggers_of` returns the ONBUILD triggers of an image that is here, None for one that is not. `uploaded` is the
    context, where that is here already.
    """
    dockerfile = source.parsed
    known = _instructions(dockerfile, options, triggers_of)
    instructions = known if known is not None else [one for stage in dockerfile.stages for one in stage.instructions]
    async with AsyncExitStack() as stack:
        secrets: dict[str, bytes] = {}
        agents: dict[str, str] = {}
        for kind, id in [*_mounts(instructions), *_repositories(instructions, options)]:
            if kind == "secret" and (secret := await session.secret(id)) is not None:
                secrets[id] = secret
            elif kind == "ssh" and id not in agents:
                with suppress(RpcError):  # a step that can't do without it says so
                    agents[id] = await stack.enter_async_context(forwarded_agent(session, id, scratch))
        credentials = {}
        for domain in sorted(_domains(dockerfile, instructions, options)):
            if found := await session.credentials(HUB if domain == "docker.io" else domain):
                credentials[domain] = found
        ignore = source.ignore
        context = uploaded or scratch / "empty"
        context.mkdir(exist_ok=True)
        digests = None
        follows = None if known is None else _from_context(dockerfile, known)
        if uploaded is not None:
            written = uploaded / ".dockerignore"
            if ignore is None and written.is_file():
                ignore = (written.read_text(), Ignore.parse(written.read_text()))
        elif follows is None or follows:
            ignore = ignore or await _ignore(session, scratch, progress)
            with progress.vertex("[internal] load build context") as vertex:
                context, size = await stack.enter_async_context(
                    contexts.received(
                        session,
                        CONTEXT,
                        scratch,
                        excludes=_patterns(ignore),
                        follows=[] if follows is None else follows,
                    )
                )
                vertex.status("transferring context:", size, size, is_done=True)
            if (digests := contexts.digests_of(context)) is not None:
                stack.callback(digests.save)
        directories = {}
        for name, value in options.contexts.items():
            if value.startswith(STREAM_SCHEME):
                with progress.vertex(f"[context {name}] load from client") as vertex:
                    local = value.removeprefix(STREAM_SCHEME)
                    directory, size = await stack.enter_async_context(contexts.received(session, local, scratch))
                    vertex.status(f"transferring {name}:", size, size, is_done=True)
                directories[name] = directory
        options = replace(options, secrets=secrets, ssh=agents, credentials=credentials)
        yield BuildRequest(
            dockerfile,
            context,
            Ignore() if ignore is None else ignore[1],
            options,
            named_contexts(options.contexts, directories),
            digests=digests,
        )


def _patterns(ignore: tuple[str, Ignore] | None) -> list[str]:
    """Return the patterns of a .dockerignore in the form that clients match: clean, and without a slash in front."""
    found = []
    for rule in () if ignore is None else ignore[1].rules:
        sign = "" if rule.excludes else "!"
        path = posixpath.normpath(rule.pattern.removeprefix("!").strip()).lstrip("/")
        if path:
            found.append(sign + path)
    return found


async def _ignore(session: Session, scratch: Path, progress: Progress) -> tuple[str, Ignore] | None:
    folder = scratch / "ignore"
    folder.mkdir()
    with progress.vertex("[internal] load .dockerignore") as vertex:
        size = await receive_directory(session, CONTEXT, folder, follows=[".dockerignore"])
        vertex.status("transferring context:", size, size, is_done=True)
    file = folder / ".dockerignore"
    return (file.read_text(), Ignore.parse(file.read_text())) if file.is_file() else None


def _instructions(
    dockerfile: ins.Dockerfile, options: BuildOptions, triggers_of: TriggersOf
) -> list[ins.Instruction] | None:
    """Return all instructions that the build may run, ONBUILD triggers as well.

    None where that is not known yet, as a base image is not here.
    """
    found: list[ins.Instruction] = []
    names: set[str] = set()
    for stage in dockerfile.stages:
        if "$" in stage.base.image or options.contexts:  # these may lead to any image
            return None
        written = () if stage.base.image.lower() in names else triggers_of(stage.base.image)
        if written is None:
            return None
        names.add(stage.base.name or "")
        own = [one.trigger for one in stage.instructions if isinstance(one, ins.OnBuild)]
        for text in (*written, *own):
            with suppress(SkiffError):  # one that can't be read is reported with its line when it is built
                found += parse_trigger(text, stage.base.line)
        found += stage.instructions
    return found


def _mounts(instructions: Sequence[ins.Instruction]) -> list[tuple[str, str]]:
    """Return the kinds and IDs of the secrets and agents that RUN steps want."""
    found = []
    for one in instructions:
        for written in one.mounts if isinstance(one, ins.Run) else ():
            try:
                mount = read_mount(written)
            except SkiffError:  # reported with its line when the step is built
                continue
            kind = mount.get("type", "bind")
            if kind == "secret":
                found.append(
                    (kind, mount.get("id") or posixpath.basename(mount.get("source") or mount.get("target", "")))
                )
            elif kind == "ssh":
                found.append((kind, mount.get("id") or "default"))
    return found


def _repositories(instructions: Sequence[ins.Instruction], options: BuildOptions) -> list[tuple[str, str]]:
    """Return the kinds and IDs of the secrets and agents that Git repositories may need."""
    sources = [source for one in instructions if isinstance(one, ins.Copy) and one.is_add for source in one.sources]
    found = []
    for value in (*sources, *options.contexts.values()):
        if is_git(value):
            with suppress(SkiffError):  # an address that can't be read is reported with its line when the step is built
                source = parse_git(value)
                found += [("ssh", AGENT)] if source.needs_agent else [("secret", id) for id in auth_secrets(source)]
    return found


def _domains(dockerfile: ins.Dockerfile, instructions: Sequence[ins.Instruction], options: BuildOptions) -> set[str]:
    """Return the registries that the build may pull from."""
    names = [value for value in options.contexts.values() if not value.startswith((STREAM_SCHEME, ID_SCHEME))]
    names += [stage.base.image for stage in dockerfile.stages]
    for one in instructions:
        names += reads_from(one)
    found = set()
    for name in names:
        try:
            found.add(Reference.parse(name.removeprefix("docker-image://")).domain)
        except SkiffError:
            continue
    return found


def _from_context(dockerfile: ins.Dockerfile, instructions: Sequence[ins.Instruction]) -> list[str] | None:
    """Return the paths of the context that the build reads; None for "perhaps all of it"."""
    if any(stage.base.image == CONTEXT for stage in dockerfile.stages):
        return None
    found = set()
    for one in instructions:
        if isinstance(one, ins.Run) and any("from=" not in mount and _binds(mount) for mount in one.mounts):
            return None
        if not isinstance(one, ins.Copy) or one.from_stage:
            continue
        for source in one.sources:
            if one.is_add and is_remote(source):
                continue
            path = posixpath.normpath("/" + source).lstrip("/")
            if not path or _GLOB.search(path):
                return None
            found.add(path)
    return sorted(found)


def _binds(mount: str) -> bool:
    return "type=" not in mount or "type=bind" in mount
