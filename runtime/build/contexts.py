"""Named contexts: what `FROM name` and `--from=name` mean in addition to stages and images.

Source: Docker documentation, `docker buildx build --build-context`; Compose specification, `additional_contexts`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.build.client_directory import ClientDirectory
from runtime.build.git import GitFetcher, GitSource, is_git, parse_git
from runtime.errors import BadRequestError, SkiffError
from runtime.image.reference import Reference

IMAGE_SCHEME = "docker-image://"
STREAM_SCHEME = "stream:"
ID_SCHEME = "image-id:"
LAYOUT_SCHEME = "oci-layout://"


@dataclass(frozen=True)
class NamedContext:
    """One of them: a `directory`, an `image` by its name, or a `repository` that is fetched before the build begins.

    `client` is a directory of the client's, which is read where it lies.
    """

    name: str
    directory: Path | None = None
    image: str = ""
    repository: GitSource | None = None
    client: ClientDirectory | None = None


class NamedContexts:
    """The named contexts of one build, by name."""

    def __init__(self, contexts: Mapping[str, NamedContext] | None = None) -> None:
        self._contexts = dict(contexts or {})

    def get(self, name: str) -> NamedContext | None:
        """Return the context that `name` means, or None; an image's name may be written in full or not."""
        return self._contexts.get(_normal(name))

    async def fetched(self, git: GitFetcher) -> NamedContexts:
        """Return the contexts with each repository as a directory. Raises DockerfileError."""
        found = dict(self._contexts)
        for key, context in self._contexts.items():
            if context.repository is not None:
                directory = await git.checkout(await git.resolve(context.repository))
                found[key] = replace(context, directory=directory, repository=None)
        return NamedContexts(found)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None


def _normal(name: str) -> str:
    try:
        return Reference.parse(name.lower()).familiar.removesuffix(":latest")
    except SkiffError:
        return name.lower()


def named_contexts(
    written: Mapping[str, str],
    directories: Mapping[str, Path],
    clients: Mapping[str, ClientDirectory] | None = None,
) -> NamedContexts:
    """Return the contexts that a build's options name.

    `directories` has those that came with its stream, by name, `clients` those that are read where they lie, by member.

    Raises BadRequestError for one of a kind that is not supported.
    """
    found = {}
    for name, value in written.items():
        if value.startswith(IMAGE_SCHEME):
            Reference.parse(value[len(IMAGE_SCHEME) :])
            found[_normal(name)] = NamedContext(name, image=value[len(IMAGE_SCHEME) :])
        elif value.startswith(ID_SCHEME):
            found[_normal(name)] = NamedContext(name, image=value[len(ID_SCHEME) :])
        elif value.startswith(STREAM_SCHEME) and clients and (client := clients.get(value[len(STREAM_SCHEME) :])):
            found[_normal(name)] = NamedContext(name, directory=client.path, client=client)
        elif value.startswith(STREAM_SCHEME) and name in directories:
            found[_normal(name)] = NamedContext(name, directory=directories[name])
        elif is_git(value):
            found[_normal(name)] = NamedContext(name, repository=parse_git(value))
        else:
            raise BadRequestError(
                f"build context {name!r}: {value} is not supported",
                "give a directory, docker-image://NAME or a Git repository",
            )
    return NamedContexts(found)


def take_out(context: Path, written: Mapping[str, str], scratch: Path) -> dict[str, Path]:
    """Move the directories of named contexts out of the unpacked `context` to `scratch`; return where each is.

    Raises BadRequestError when the stream has no such directory.
    """
    found = {}
    for number, (name, value) in enumerate(written.items()):
        if value.startswith(STREAM_SCHEME):
            source = inside(context, value[len(STREAM_SCHEME) :])
            if source is None or not source.is_dir():
                raise BadRequestError(f"build context {name!r} is missing in the stream")
            found[name] = source.rename(scratch / f"context-{number}")
    return found


def inside(context: Path, name: str) -> Path | None:
    """Return the path of the stream's member `name`, or None when a link or ".." leads there."""
    path = context / posixpath.normpath("/" + name).lstrip("/")
    parents = [parent for parent in path.parents if parent.is_relative_to(context)]
    return None if path.is_symlink() or any(parent.is_symlink() for parent in parents) else path
