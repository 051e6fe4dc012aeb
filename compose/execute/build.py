"""Building a service's image: what its `build:` asks of the engine, and the engine's messages as lines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compose.execute.build_context import archive, stream
from compose.execute.build_flags import BuildFlags
from compose.execute.host_ca import HOST_CA, host_certificates, host_proxies
from compose.execute.key_agents import key_agent
from compose.plan.build_settings import BuildSettings, agent_sockets
from compose.plan.container_body import ulimit_bodies
from compose.plan.project import PROJECT, SERVICE, DesiredProject, image_name
from runtime.client import Client
from runtime.errors import EngineError, SkiffError

OWN = ".skiff-build"
"""Folder of the stream for files that are sent in addition to the context."""
CANNOT = (404, 501)
"""How an engine answers that does not read directories of its clients, or can't reach them."""
IMAGE_SCHEME, SERVICE_SCHEME = "docker-image://", "service:"


@dataclass(frozen=True)
class BuildCall:
    """What is sent: the directory of the context, the Dockerfile in it, the query, and what goes along."""

    context: Path
    dockerfile: str
    query: Mapping[str, object]
    extra: Mapping[str, bytes]
    directories: Mapping[str, Path]
    hidden: str = ""
    """A folder of the stream that the ignore file must hide; our own engine removes it without that."""


def build_image(
    client: Client, target: DesiredProject, service: str, report: Callable[[str], None], options: BuildFlags
) -> str:
    """Build the image of `service` and return its ID. Raises SkiffError with the build's own message."""
    image_id = ""
    with ExitStack() as agents:
        is_ours = client.endpoint.is_ours
        request = build_request(
            target, service, options, lambda keys: agents.enter_context(key_agent(keys)), is_ours=is_ours
        )
        for message in messages_of(client, request):
            for line in str(message.get("stream") or "").splitlines():
                if line.strip() and not options.quiet:
                    report(line)
            if "aux" in message:
                image_id = message["aux"].get("ID", image_id)
    return image_id


def messages_of(client: Client, request: BuildCall) -> Iterator[dict[str, Any]]:
    """Build, and yield the engine's messages: our own on this machine reads the directories where they lie."""
    if client.endpoint.is_ours:
        with ExitStack() as stack:
            directories = {"": request.context, **request.directories}
            opened = {name: os.open(path, os.O_RDONLY | os.O_DIRECTORY) for name, path in directories.items()}
            for descriptor in opened.values():
                stack.callback(os.close, descriptor)
            try:
                yield from client.build_here(opened, archive(request.extra), request.query)
                return
            except EngineError as error:
                # an earlier version, or one in other namespaces
                if error.status not in CANNOT:
                    raise
    body = stream(request.context, request.dockerfile, request.hidden, request.extra, request.directories)
    yield from client.build(body, request.query)


def build_request(
    target: DesiredProject, service: str, options: BuildFlags, agent: Callable[[Path], str], *, is_ours: bool
) -> BuildCall:
    """Return the request for the `build:` of `service`; `is_ours` says that the engine is Skiff's own.

    `agent` returns the socket of an SSH agent that holds the keys of a file.
    Raises SkiffError for what is not there, and for what the engine can't do.
    """
    build = target.services[service].build
    assert build is not None  # plans build only services that have one
    if options.ssh:
        build = build._replace(ssh={**build.ssh, **agent_sockets(options.ssh)})
    fail = _Failure(service)
    context = _context(build, fail)
    dockerfile, extra = _dockerfile(build, context, fail)
    _refuse(build, fail)
    query: dict[str, Any] = {
        "t": [image_name(target, service), *build.tags],
        "dockerfile": dockerfile,
        "buildargs": json.dumps({**build.arguments, **options.arguments}),
        "labels": json.dumps({**build.labels, PROJECT: target.name, SERVICE: service}),
        "target": build.target,
        "networkmode": build.network,
        "nocache": int(build.no_cache or options.no_cache),
        "pull": int(build.pull or options.pull),
        "extrahosts": build.extra_hosts,
        "shmsize": build.shm_size_bytes or "",
        "memory": options.memory_bytes or "",
        "ulimits": json.dumps(ulimit_bodies(build.ulimits)) if build.ulimits else "",
        "platform": _platform(target.services[service].platform, build, fail),
        "cachefrom": json.dumps(_cache_images(build, fail)) if build.cache_from else "",
    }
    if options.check:
        if not is_ours:
            raise fail("--check is not supported by this engine", "check with Skiff's own engine, or leave it out")
        query["check"] = 1
    directories: dict[str, Path] = {}
    if is_ours:
        own, secrets, directories = _own(target, build, agent, fail)
        query |= {"plain": 1, **own}
        extra = {**extra, **secrets}
    else:
        _refuse_elsewhere(build, fail)
    if options.host_ca or os.environ.get(HOST_CA, "").lower() in ("1", "true", "yes"):
        if not is_ours:
            raise fail(
                "--with-host-ca is not supported by this engine", "build with Skiff's own engine, or leave it out"
            )
        query["certificates"] = f"{OWN}/certificates"
        extra = {**extra, query["certificates"]: host_certificates(os.environ)}
        query["buildargs"] = json.dumps({**host_proxies(os.environ), **build.arguments, **options.arguments})
    if is_ours and (extra or directories):
        query["own"] = OWN
    kept = {name: value for name, value in query.items() if value not in ("", [])}
    return BuildCall(context, dockerfile, kept, extra, directories, "" if is_ours else OWN)


@dataclass(frozen=True)
class _Failure:
    """Makes the errors of one service."""

    service: str

    def __call__(self, problem: str, hint: str) -> SkiffError:
        return SkiffError(f"service {self.service!r}: {problem}", hint)


def _is_remote(context: str) -> bool:
    return "://" in context or context.startswith("git@") or context.endswith(".git")


def _context(build: BuildSettings, fail: _Failure) -> Path:
    written = build.context or "."
    context = Path(written)
    if context.is_dir():
        return context
    if _is_remote(written):
        raise fail("remote build contexts are not supported", "clone it, and build the directory")
    raise fail(f"the build context does not exist: {context}", "correct build.context, or make it")


def _dockerfile(build: BuildSettings, context: Path, fail: _Failure) -> tuple[str, dict[str, bytes]]:
    """Return the Dockerfile's name in the stream, and its text where it is not part of the context."""
    if (inline := build.dockerfile_inline) is not None:
        return f"{OWN}/Dockerfile", {f"{OWN}/Dockerfile": inline.encode()}
    path = context / (build.dockerfile or "Dockerfile")
    if not path.is_file():
        raise fail(
            f"failed to read dockerfile: {path} does not exist", "write it, or name another with build.dockerfile"
        )
    relative = os.path.relpath(os.path.normpath(path), os.path.normpath(context))
    if not relative.startswith(".."):
        return relative, {}
    name = f"{OWN}/{path.name}"
    extra = {name: path.read_bytes()}
    ignore = path.with_name(f"{path.name}.dockerignore")
    if ignore.is_file():
        extra[f"{name}.dockerignore"] = ignore.read_bytes()
    return name, extra


def _refuse(build: BuildSettings, fail: _Failure) -> None:
    if build.isolation not in ("", "default"):
        raise fail(f"build.isolation {build.isolation!r} is for Windows", "leave it out")
    for key, value in (("provenance", build.provenance), ("sbom", build.sbom)):
        if str(value or "false").lower() not in ("false", "0"):
            raise fail(f"build.{key}: attestations are not made", f"leave it out, or write `{key}: false`")
    for entry in build.cache_to:
        if _fields(entry).get("type") != "inline":
            raise fail(
                f"build.cache_to: {entry} is not supported",
                "the image itself carries its cache: push it, and name it in cache_from",
            )


def _platform(wanted: str, build: BuildSettings, fail: _Failure) -> str:
    platforms = build.platforms
    if not wanted and len(platforms) > 1:
        raise fail(
            f"an image for several platforms ({', '.join(platforms)}) can't be built at once",
            "name one of them: `platform:` of the service, or a single build.platforms",
        )
    return wanted or (platforms[0] if platforms else "")


def _fields(entry: str) -> dict[str, str]:
    """Return the fields of a cache that is written `type=registry,ref=name`; an image alone is one of a registry."""
    if "=" not in entry:
        return {"type": "registry", "ref": entry}
    return {name: value for name, _, value in (part.partition("=") for part in entry.split(","))}


def _cache_images(build: BuildSettings, fail: _Failure) -> list[str]:
    found = []
    for entry in build.cache_from:
        fields = _fields(entry)
        if fields.get("type", "registry") != "registry" or not fields.get("ref"):
            raise fail(f"build.cache_from: {entry} is not supported", "name an image, or write type=registry,ref=IMAGE")
        found.append(fields["ref"])
    return found


# --- beyond the classic protocol: what our own engine alone knows


def _own(
    target: DesiredProject, build: BuildSettings, agent: Callable[[Path], str], fail: _Failure
) -> tuple[dict[str, Any], dict[str, bytes], dict[str, Path]]:
    """Return parts of the query, files and directories that go along: secrets, agents, contexts, entitlements."""
    files: dict[str, bytes] = {}
    secrets: dict[str, str] = {}
    for number, use in enumerate(build.secrets):
        member = f"{OWN}/secrets/{number}"
        secrets[use.target or use.source] = member
        files[member] = _secret(target, use.source, fail)
    contexts, directories = _contexts(target, build, fail)
    query = {
        "nocachefilter": json.dumps(list(build.no_cache_filter)) if build.no_cache_filter else "",
        "secrets": json.dumps(secrets) if secrets else "",
        "ssh": json.dumps(_agents(target, build, agent, fail)) if build.ssh else "",
        "contexts": json.dumps(contexts) if contexts else "",
        "entitlements": build.allowed_entitlements(),
    }
    return query, files, directories


def _secret(target: DesiredProject, name: str, fail: _Failure) -> bytes:
    declared = target.file("secrets", name)
    if variable := declared.environment:
        if ("secrets", name) not in target.values:
            raise fail(
                f"environment variable {variable!r} required by secret {name!r} is not set", "set it, or in .env"
            )
        return target.values["secrets", name].encode()
    if not declared.file:
        raise fail(f"secret {name!r} of the build has neither file nor environment", "give it one")
    try:
        return Path(declared.file).read_bytes()
    except OSError as error:
        raise fail(
            f"secret {name!r} can't be read: {declared.file}: {error.strerror}", "make it, or correct the path"
        ) from error


def _agents(
    target: DesiredProject, build: BuildSettings, agent: Callable[[Path], str], fail: _Failure
) -> dict[str, str]:
    found = {}
    for name, written in build.ssh.items():
        given = written or target.environment.get("SSH_AUTH_SOCK") or os.environ.get("SSH_AUTH_SOCK") or ""
        if not given:
            raise fail(
                f"build.ssh: {name} wants an SSH agent, and none runs", "start one: `eval $(ssh-agent)`, `ssh-add`"
            )
        path = Path(given)
        if path.is_file():
            try:
                given = agent(path.absolute())
            except SkiffError as error:
                raise fail(
                    f"build.ssh: {name}: {error.message}", error.hint or "add it to an agent: `ssh-add`"
                ) from error
        elif not path.is_socket():
            raise fail(f"build.ssh: {name}: {given} is neither an agent's socket nor a key", "add the key: `ssh-add`")
        found[name] = given
    return found


def _contexts(target: DesiredProject, build: BuildSettings, fail: _Failure) -> tuple[dict[str, str], dict[str, Path]]:
    contexts: dict[str, str] = {}
    directories: dict[str, Path] = {}
    for number, (name, value) in enumerate(build.contexts.items()):
        if value.startswith(SERVICE_SCHEME):
            base = value[len(SERVICE_SCHEME) :]
            if base not in target.services:
                raise fail(f"additional context {name!r}: no such service: {base}", "correct its name")
            contexts[name] = IMAGE_SCHEME + image_name(target, base)
        elif value.startswith(IMAGE_SCHEME):
            contexts[name] = value
        elif Path(value).is_dir():
            member = f"{OWN}/contexts/{number}"
            contexts[name], directories[member] = f"stream:{member}", Path(value)
        elif _is_remote(value):
            raise fail(
                f"additional context {name!r}: {value} is not supported", "give a directory or docker-image://NAME"
            )
        else:
            raise fail(f"additional context {name!r} does not exist: {value}", "correct the path, or make it")
    return contexts, directories


def _refuse_elsewhere(build: BuildSettings, fail: _Failure) -> None:
    given = {
        "secrets": build.secrets,
        "ssh": build.ssh,
        "additional_contexts": build.contexts,
        "entitlements": build.entitlements,
        "privileged": build.is_privileged,
    }
    for key, value in given.items():
        if value:
            raise fail(
                f"build.{key} is not supported by this engine: its protocol has no field for it",
                "build with Skiff's own engine, or leave it out",
            )
