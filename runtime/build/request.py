"""What a build works on: the Dockerfile, the context as far as the build sees it, and what came with it."""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.build import instructions as ins
from runtime.build.client_directory import ClientDirectory
from runtime.build.contexts import NamedContexts, inside, named_contexts, take_out
from runtime.build.digests import FileDigests
from runtime.build.errors import DockerfileError, suggestion
from runtime.build.options import BuildOptions
from runtime.build.parser import parse
from runtime.build.selection import Sources
from runtime.build.tree import Tree
from runtime.dockerignore import Ignore
from runtime.errors import BadRequestError


@dataclass(frozen=True)
class BuildRequest:
    """One build, read: everything that can be refused before it begins was looked at.

    `client` is the context where that is read in the client's own directory, `context` otherwise a directory of the engine's,
    and `digests` those of its files where it is kept.
    """

    dockerfile: ins.Dockerfile
    context: Path
    ignore: Ignore
    options: BuildOptions
    contexts: NamedContexts
    client: ClientDirectory | None = None
    digests: FileDigests | None = None

    @property
    def sources(self) -> Sources:
        """The context as steps read it."""
        if self.client is not None:
            return Sources.of_client(self.client, self.ignore)
        return Sources(Tree((self.context,)), self.ignore, digests=self.digests)


def read_request(context: Path, options: BuildOptions) -> BuildRequest:
    """Read a build of the directory `context`, which stays as it is. Raises BadRequestError."""
    dockerfile = read_dockerfile(Tree((context,)), options)
    return BuildRequest(
        dockerfile,
        context,
        read_ignore(Tree((context,)), options.dockerfile),
        options,
        named_contexts(options.contexts, {}),
    )


def read_stream(context: Path, options: BuildOptions, scratch: Path) -> BuildRequest:
    """Read a build whose stream was unpacked to `context`: what is no part of the context is taken out of it.

    Raises BadRequestError.
    """
    options = _with_members(context, options)
    directories = take_out(context, options.contexts, scratch)
    dockerfile = read_dockerfile(Tree((context,)), options)
    ignore = read_ignore(Tree((context,)), options.dockerfile)
    if options.own and (folder := inside(context, options.own)) is not None and folder.is_dir():
        shutil.rmtree(folder)
    if ignore.rules:
        # a mount shows the context as it lies here: what the build does not see must not be there
        _leave_out(context, "", ignore)
    return BuildRequest(dockerfile, context, ignore, options, named_contexts(options.contexts, directories))


def read_clients(sent: Path, options: BuildOptions, clients: Mapping[str, ClientDirectory]) -> BuildRequest:
    """Read a build of directories of the client's, by name, of which "" is the context.

    `sent` has what came with the request, such as secrets. Raises BadRequestError.
    """
    context = clients[""]
    options = _with_members(sent, options)
    both = Tree((sent, context.path))
    dockerfile, ignore = read_dockerfile(both, options), read_ignore(both, options.dockerfile)
    contexts = named_contexts(options.contexts, {}, clients)
    return BuildRequest(dockerfile, context.path, ignore, options, contexts, context)


def _with_members(context: Path, options: BuildOptions) -> BuildOptions:
    """Return the options with the secrets and certificates that are members of the stream, and take these away."""
    secrets = dict(options.secrets)
    for name, member in options.secret_members.items():
        file = inside(context, member)
        if file is None or not file.is_file():
            raise BadRequestError(f"secret {name!r} is missing in the stream")
        secrets[name] = file.read_bytes()
        file.unlink()
    certificates = options.certificates
    if options.certificates_member:
        file = inside(context, options.certificates_member)
        if file is None or not file.is_file():
            raise BadRequestError("the CA certificates are missing in the stream")
        certificates = file.read_bytes()
        file.unlink()
    return replace(options, secrets=secrets, certificates=certificates)


def _leave_out(directory: Path, relative: str, ignore: Ignore) -> bool:
    """Remove what is ignored below `directory`; return whether something stays."""
    stays = False
    for entry in directory.iterdir():
        path = posixpath.join(relative, entry.name)
        is_hidden = ignore.excludes(path)
        if entry.is_dir() and not entry.is_symlink():
            if is_hidden and not ignore.has_exceptions:
                shutil.rmtree(entry)
            elif _leave_out(entry, path, ignore) or not is_hidden:
                stays = True
            else:
                entry.rmdir()
        elif is_hidden:
            entry.unlink()
        else:
            stays = True
    return stays


def read_dockerfile(tree: Tree, options: BuildOptions) -> ins.Dockerfile:
    """Read and parse the Dockerfile of a build. Raises DockerfileError, BadRequestError when there is none."""
    if options.dockerfile_text is not None:
        return parse(options.dockerfile_text, options.dockerfile)
    entry = tree.find(options.dockerfile)
    if entry is None or not entry.is_file:
        names = [child.path.lstrip("/") for child in tree.children(tree.root) if child.is_file]
        near = (
            suggestion(options.dockerfile, names) or "name another file with -f, or `dockerfile:` in the Compose file"
        )
        raise BadRequestError(f"Cannot locate specified Dockerfile: {options.dockerfile}", near)
    return parse_bytes(Path(entry.location).read_bytes(), options.dockerfile)


def parse_bytes(data: bytes, name: str) -> ins.Dockerfile:
    """Parse what the Dockerfile `name` holds. Raises DockerfileError, also where that is no UTF-8 text."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DockerfileError(
            f"the Dockerfile is no UTF-8 text: {error.reason} at byte {error.start}", hint="save it as UTF-8", file=name
        ) from None
    return parse(text, name)


def read_ignore(tree: Tree, dockerfile: str) -> Ignore:
    """Return the rules of `<Dockerfile>.dockerignore`, else of `.dockerignore`, else none."""
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        entry = tree.find(name)
        if entry is not None and entry.is_file:
            return Ignore.parse(tree.read_text(name), name)
    return Ignore()
