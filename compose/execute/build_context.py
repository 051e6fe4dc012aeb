"""A build's stream: the context without what .dockerignore excludes, and files sent in addition."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, cast

from runtime.dockerignore import Ignore

CHUNK_BYTES = 1 << 20


IGNORE = ".dockerignore"


def stream(
    context: Path, dockerfile: str, hidden: str, extra: Mapping[str, bytes], directories: Mapping[str, Path]
) -> Iterator[bytes]:
    """Yield a tar stream of the directory `context`, of `extra` files and of `directories`, each by its name in there.

    Files below the folder `hidden` of the stream are not part of the context: a rule is added to the ignore file that
    says so. For an engine that knows this without a rule it is "". The Dockerfile and the ignore files are always sent.
    Raises SkiffError for what can't be read.
    """
    out = Chunks()
    name, text = _ignore_file(context, dockerfile, extra)
    extra = dict(extra)
    if hidden and (extra or directories):
        # as the docker CLI does it: the rules themselves say that what was added is no part of the context
        extra[name] = f"{IGNORE if text is None else text}\n{hidden}\n".encode()
    with _tar(out) as tar:
        _add_files(tar, extra)
        kept = {os.path.normpath(path) for path in (dockerfile, name) if path not in extra}
        yield from _tree(
            tar, out, context, "", Ignore.parse(text or "", name), kept, {os.path.normpath(p) for p in extra}
        )
        for path, directory in directories.items():
            tar.add(directory, path, recursive=False, filter=_of_root)
            ignore = Ignore.parse(_text(directory / IGNORE) or "", IGNORE)
            yield from _tree(tar, out, directory, path, ignore, {IGNORE}, set())
    yield out.taken()


def archive(extra: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield a tar stream of `extra` files, by name."""
    out = Chunks()
    with _tar(out) as tar:
        _add_files(tar, extra)
    yield out.taken()


def _tar(out: Chunks) -> tarfile.TarFile:
    return tarfile.open(fileobj=cast(IO[bytes], out), mode="w|", format=tarfile.PAX_FORMAT)


def _add_files(tar: tarfile.TarFile, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        member = tarfile.TarInfo(path)
        member.size, member.mode = len(data), 0o600
        tar.addfile(member, io.BytesIO(data))


def ignore_rules(context: Path, dockerfile: str) -> Ignore:
    """Return what the build with the Dockerfile `dockerfile` (relative to `context`) does not see of its context.

    Raises SkiffError for a malformed ignore file.
    """
    name, text = _ignore_file(context, dockerfile, {})
    return Ignore.parse(text or "", name)


def _ignore_file(context: Path, dockerfile: str, extra: Mapping[str, bytes]) -> tuple[str, str | None]:
    """Return the name and the text of `<dockerfile>.dockerignore`, else of `.dockerignore`, None where there is none."""
    special = f"{dockerfile}{IGNORE}"
    if special in extra:
        return special, extra[special].decode(errors="replace")
    text = _text(context / special)
    return (IGNORE, _text(context / IGNORE)) if text is None else (special, text)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _tree(
    tar: tarfile.TarFile, out: Chunks, folder: Path, prefix: str, ignore: Ignore, kept: set[str], replaced: set[str]
) -> Iterator[bytes]:
    for base, folders, files in os.walk(folder):
        relative = os.path.relpath(base, folder)
        paths = {name: os.path.normpath(os.path.join(relative, name)) for name in (*folders, *files)}
        hidden = {name for name, path in paths.items() if ignore.excludes(path) and path not in kept}
        # a hidden folder is gone through where something in it may be wanted after all
        folders[:] = sorted(
            name
            for name in folders
            if name not in hidden or ignore.has_exceptions or any(one.startswith(f"{paths[name]}/") for one in kept)
        )
        for name in sorted(set(paths) - hidden):
            if paths[name] in replaced:
                continue
            _add(tar, os.path.join(base, name), os.path.join(prefix, paths[name]))
            if out.size > CHUNK_BYTES:
                yield out.taken()


def _add(tar: tarfile.TarFile, path: str, name: str) -> None:
    member = tar.gettarinfo(path, name)
    if member is None:  # a socket has no place in an archive
        return
    _of_root(member)
    if member.isreg():
        with open(path, "rb") as content:
            tar.addfile(member, content)
    else:
        tar.addfile(member)


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    # whole seconds, as the docker CLI sends them: a fraction would take two more blocks for every file
    member.mtime = int(member.mtime)
    return member


class Chunks:
    """Collects what is written until `taken` returns it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> int:
        """Add `data`."""
        self._parts.append(bytes(data))
        self.size += len(data)
        return len(data)

    def taken(self) -> bytes:
        """Return what was written, and forget it."""
        data = b"".join(self._parts)
        self._parts, self.size = [], 0
        return data
