"""Building a service's image: the context as a tar stream, the engine's messages as lines."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compose.plan.project import PROJECT, SERVICE, Target, image_name
from runtime.client import Client
from runtime.errors import SkiffError

DOCKERFILE_IN_STREAM = ".skiff-dockerfile"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class BuildOptions:
    """What `build` may be told beside the file: flags, a limit of memory in bytes, arguments (None: from the engine)."""

    no_cache: bool = False
    pull: bool = False
    quiet: bool = False
    memory_bytes: int = 0
    arguments: Mapping[str, str | None] = field(default_factory=dict)


def build_image(
    client: Client, target: Target, service: str, tell: Callable[[str], None], options: BuildOptions
) -> str:
    """Build the image of `service` and return its ID. Raises SkiffError with the build's own message."""
    build = target.services[service].get("build") or {}
    context = Path(build.get("context") or ".")
    if "://" in str(build.get("context") or "") or str(build.get("context") or "").endswith(".git"):
        raise SkiffError(
            f"service {service!r}: remote build contexts are not supported", "clone it, and build the directory"
        )
    if not context.is_dir():
        raise SkiffError(
            f"service {service!r}: the build context does not exist: {context}", "correct build.context, or make it"
        )
    dockerfile = build.get("dockerfile") or "Dockerfile"
    inline = build.get("dockerfile_inline")
    path = Path(dockerfile) if os.path.isabs(dockerfile) else context / dockerfile
    if inline is None and not path.is_file():
        raise SkiffError(
            f"service {service!r}: failed to read dockerfile: {path} does not exist",
            "write it, or name another with build.dockerfile",
        )
    outside = inline is None and not _is_below(path, context)
    query: dict[str, Any] = {
        "t": [image_name(target, service), *(build.get("tags") or ())],
        "dockerfile": DOCKERFILE_IN_STREAM if inline is not None or outside else os.path.relpath(path, context),
        "buildargs": json.dumps({**(build.get("args") or {}), **options.arguments}),
        "labels": json.dumps({**(build.get("labels") or {}), PROJECT: target.name, SERVICE: service}),
        "target": build.get("target") or "",
        "networkmode": build.get("network") or "",
        "nocache": int(bool(build.get("no_cache")) or options.no_cache),
        "pull": int(bool(build.get("pull")) or options.pull),
        "extrahosts": list(build.get("extra_hosts") or ()),
        "shmsize": build.get("shm_size") or "",
        "memory": options.memory_bytes or "",
    }
    extra = (
        {DOCKERFILE_IN_STREAM: inline.encode() if inline is not None else path.read_bytes()}
        if inline is not None or outside
        else {}
    )
    image_id = ""
    for message in client.build(context_stream(context, extra), {k: v for k, v in query.items() if v not in ("", [])}):
        for line in str(message.get("stream") or "").splitlines():
            if line.strip() and not options.quiet:
                tell(line)
        if "aux" in message:
            image_id = message["aux"].get("ID", image_id)
    return image_id


def _is_below(path: Path, folder: Path) -> bool:
    return not os.path.relpath(os.path.normpath(path), folder).startswith("..")


def context_stream(context: Path, extra: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield a tar stream of the directory `context` and `extra` files; the engine applies .dockerignore.

    Folders that .dockerignore leaves out as a whole by name are not sent.
    """
    skipped = _plainly_ignored(context)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for base, folders, files in os.walk(context):
            relative = os.path.relpath(base, context)
            folders[:] = sorted(f for f in folders if os.path.normpath(os.path.join(relative, f)) not in skipped)
            for name in sorted([*folders, *files]):
                path = os.path.join(base, name)
                member = tar.gettarinfo(path, os.path.normpath(os.path.join(relative, name)))
                if member is None:  # a socket has no place in an archive
                    continue
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                if member.isreg():
                    with open(path, "rb") as content:
                        tar.addfile(member, content)
                else:
                    tar.addfile(member)
                if out.tell() > CHUNK_BYTES:
                    yield out.getvalue()
                    out.seek(0)
                    out.truncate()
        for name, data in extra.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    yield out.getvalue()


def _plainly_ignored(context: Path) -> set[str]:
    """Return folders named in .dockerignore without wildcards, where no exception could bring something back."""
    try:
        lines = [line.strip() for line in (context / ".dockerignore").read_text().splitlines()]
    except OSError:
        return set()
    if any(line.startswith("!") for line in lines):
        return set()
    return {
        os.path.normpath(line.lstrip("/"))
        for line in lines
        if line and not line.startswith("#") and not set(line) & set("*?[")
    }
