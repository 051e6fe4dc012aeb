"""Git repositories that ADD copies: how their addresses are written, and how the git program fetches them.

Source: Dockerfile reference, "ADD - Adding files from a Git repository"; Docker documentation, "Build context", for the
fragments (`#ref:folder`) and queries (`?branch=…&subdir=…`) of addresses.
"""

from __future__ import annotations

import base64
import os
import posixpath
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import anyio
import anyio.to_thread

from runtime.build.errors import DockerfileError
from runtime.build.tree import Tree

PROTOCOLS = "http:https:ssh:git"
"""What git may use, for submodules as well: a repository must not read files of the machine that builds."""
AGENT = "default"
"""The SSH agent that repositories are fetched with."""
TOKEN, HEADER = "GIT_AUTH_TOKEN", "GIT_AUTH_HEADER"
"""Secrets for repositories over HTTP; with `.HOST` behind the name, for that host alone."""
_BY_SSH = re.compile(r"[\w.-]+@[\w.-]+:[^#?]*")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CHECKSUM = re.compile(r"[0-9a-f]{7,64}")
_QUERY = {"ref": "{}", "branch": "refs/heads/{}", "tag": "refs/tags/{}"}
_PASSED_ON = ("PATH", *(name for stem in ("http_proxy", "https_proxy", "no_proxy") for name in (stem, stem.upper())))


@dataclass(frozen=True)
class GitSource:
    """An address, read: the repository's own URL, what to check out ("" for the default branch), the folder to copy."""

    url: str
    ref: str = ""
    folder: str = ""
    checksum: str = ""
    keeps_git: bool = False

    @property
    def needs_agent(self) -> bool:
        """Whether it is fetched over SSH."""
        return self.url.startswith("ssh://") or _BY_SSH.match(self.url) is not None


@dataclass(frozen=True)
class Commit:
    """What a source means now: the commit's hash, and the full name that it has in the repository ("" for none)."""

    source: GitSource
    hash: str
    name: str


class Secrets(Protocol):
    """The parts of a build's options that fetching needs."""

    @property
    def secrets(self) -> Mapping[str, bytes]:
        """Contents by ID."""
        ...

    @property
    def ssh(self) -> Mapping[str, str]:
        """Sockets of agents by ID."""
        ...


def is_git(source: str) -> bool:
    """Return whether ADD takes `source` for a repository's address."""
    if source.startswith(("git://", "ssh://")) or _BY_SSH.match(source):
        return True
    return source.startswith(("http://", "https://")) and urlsplit(source).path.endswith(".git")


def parse_git(source: str, checksum: str = "", *, keeps_git: bool = False) -> GitSource:
    """Read a repository's address. Raises DockerfileError (without a line) for a query that means nothing."""
    address, _, fragment = source.partition("#")
    ref, _, folder = fragment.partition(":")
    query = ""
    if "://" in address:
        parts = urlsplit(address)
        address, query = urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), parts.query
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _QUERY:
            ref = _QUERY[name].format(value)
        elif name == "subdir":
            folder = value
        elif name in ("checksum", "commit"):
            checksum = checksum or value
        elif name == "keep-git-dir":
            keeps_git = keeps_git or value.lower() in ("", "1", "true")
        else:
            raise DockerfileError(
                f'unexpected query "{name}" in {source}',
                hint="a repository's address takes branch, tag, ref, commit (or checksum), subdir and keep-git-dir",
            )
    if checksum and not _CHECKSUM.fullmatch(checksum):
        raise DockerfileError(
            f"invalid checksum {checksum!r} for {source}", hint="a repository's checksum is the hash of a commit"
        )
    return GitSource(address, ref, folder.strip("/"), checksum, keeps_git)


def commit_of(source: GitSource, listed: str) -> Commit:
    """Return the commit that `source` means, of what `git ls-remote` lists ("HASH<TAB>NAME" lines).

    Raises DockerfileError when the repository has no such ref, or when the commit is not the expected one.
    """
    names = {name: sha for sha, _, name in (line.partition("\t") for line in listed.splitlines()) if name}
    if _COMMIT.fullmatch(source.ref):
        named = next((name for name, sha in names.items() if sha == source.ref and not name.endswith("^{}")), "")
        found = Commit(source, source.ref, named)
    elif not source.ref and "HEAD" in names:
        found = Commit(source, names["HEAD"], "HEAD")
    else:
        # a branch comes before a tag of the same name, as git checkout has it
        candidates = (source.ref, *(f"refs/{kind}{source.ref}" for kind in ("heads/", "tags/", "")))
        name = next((one for one in candidates if one.startswith("refs/") and one in names), None)
        if name is None:
            wanted = f"ref {source.ref}" if source.ref else "default branch"
            known = {one.split("/", 2)[2] for one in names if one.startswith(("refs/heads/", "refs/tags/"))}
            hint = (
                f"it has {', '.join(sorted(one for one in known if not one.endswith('^{}'))[:10])}" if known else None
            )
            raise DockerfileError(f"repository {source.url} does not contain {wanted}", hint=hint)
        # an annotated tag is an object of its own; what it names is listed as well
        found = Commit(source, names.get(f"{name}^{{}}", names[name]), name)
    if source.checksum and not found.hash.startswith(source.checksum):
        raise DockerfileError(
            f"expected checksum to match {source.checksum}, got {found.hash}",
            hint=f"check {source.url}; where the new commit is right, correct --checksum",
        )
    return found


class GitFetcher:
    """Fetches repositories with the git program, into a directory of its own."""

    def __init__(self, directory: Path, options: Secrets) -> None:
        self._directory = directory
        self._options = options

    async def resolve(self, source: GitSource) -> Commit:
        """Return the commit that `source` means now. Raises DockerfileError."""
        if _COMMIT.fullmatch(source.ref) and not source.checksum:
            return Commit(source, source.ref, "")
        listed = await self._git(source, ["ls-remote", source.url], f"the refs of {source.url} can't be read")
        return commit_of(source, listed)

    async def checkout(self, commit: Commit) -> Path:
        """Return a directory with the files of `commit`. Raises DockerfileError."""
        source = commit.source
        place = Path(await anyio.to_thread.run_sync(lambda: tempfile.mkdtemp(dir=self._directory, prefix="git-")))
        problem = f"{source.url} can't be fetched"
        await self._git(source, ["init", "-q", str(place)], problem)
        await self._git(source, ["remote", "add", "origin", source.url], problem, place)
        await self._fetch(commit, place, problem)
        await self._git(
            source, ["checkout", "-q", "--detach", commit.hash], f"{source.url} has no {commit.hash}", place
        )
        await self._git(
            source,
            ["submodule", "update", "-q", "--init", "--recursive", "--depth=1"],
            f"the submodules of {source.url} can't be fetched",
            place,
        )
        await anyio.to_thread.run_sync(_tidy, place, source.keeps_git)
        return _folder(place, source)

    async def _fetch(self, commit: Commit, place: Path, problem: str) -> None:
        """Fetch the one commit, or everything where the server gives no single ones."""
        fetch = ["fetch", "-q", "--no-tags"]
        wanted = commit.name if commit.name not in ("", "HEAD") else commit.hash
        try:
            await self._git(commit.source, [*fetch, "--depth=1", "origin", wanted], problem, place)
        except DockerfileError:
            every = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
            await self._git(commit.source, [*fetch, "origin", *every], problem, place)

    async def _git(self, source: GitSource, arguments: Sequence[str], problem: str, place: Path | None = None) -> str:
        """Run git; return what it prints. Raises DockerfileError with its own words."""
        program = shutil.which("git")
        if program is None:
            raise DockerfileError(
                f"ADD of the Git repository {source.url} needs the git program, which is not installed",
                hint="install git on this machine, or clone the repository into the build context",
            )
        done = await anyio.run_process(
            [program, "-c", "init.defaultBranch=main", "-c", "advice.detachedHead=false", *arguments],
            check=False,
            cwd=place or self._directory,
            env=self._environment(source),
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise DockerfileError(problem, hint=f"git says: {said.splitlines()[-1]}" if said else None)
        return done.stdout.decode(errors="replace")

    def _environment(self, source: GitSource) -> dict[str, str]:
        """Return git's variables: nothing of this machine's settings counts, and nobody is asked for a password."""
        found = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        found |= {
            "HOME": str(self._directory),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": PROTOCOLS,
        }
        if source.needs_agent:
            if AGENT not in self._options.ssh:
                raise DockerfileError(
                    f"{source.url} is fetched over SSH, and the build was given no SSH agent {AGENT!r}",
                    hint="give it: `ssh: [default]` under `build:` in the Compose file, or --ssh default",
                )
            known = self._directory / "known_hosts"
            found["SSH_AUTH_SOCK"] = self._options.ssh[AGENT]
            found["GIT_SSH_COMMAND"] = (
                f"ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={known}"
            )
        elif (header := self._header(source)) is not None:
            # in the environment, not on the command line, where others would see it
            found |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{_origin(source.url)}.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: {header}",
            }
        return found

    def _header(self, source: GitSource) -> str | None:
        host = urlsplit(source.url).hostname or ""
        for name in (f"{HEADER}.{host}", HEADER):
            if (value := self._options.secrets.get(name)) is not None:
                return value.decode().strip()
        for name in (f"{TOKEN}.{host}", TOKEN):
            if (value := self._options.secrets.get(name)) is not None:
                pair = b"x-access-token:" + value.strip()
                return f"basic {base64.b64encode(pair).decode()}"
        return None


def auth_secrets(source: GitSource) -> list[str]:
    """Return the IDs of the secrets that may open the repository."""
    host = urlsplit(source.url).hostname or ""
    return [] if source.needs_agent else [f"{HEADER}.{host}", HEADER, f"{TOKEN}.{host}", TOKEN]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"


def _tidy(place: Path, keeps_git: bool) -> None:
    """Take Git's own files away, and give the rest the modes that are independent of this process's umask."""
    for base, folders, files in os.walk(place):
        for name in [*folders, *files]:
            path = Path(base, name)
            if name == ".git" and not keeps_git:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            elif not path.is_symlink():
                is_executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if is_executable else 0o644)
        folders[:] = [name for name in folders if name != ".git"]


def _folder(place: Path, source: GitSource) -> Path:
    """Return where the folder that is asked for lies; links are not followed on the way. Raises DockerfileError."""
    current = ""
    for name in filter(None, source.folder.split("/")):
        current = posixpath.join(current, name)
        entry = Tree((place,)).find(current, follow=False)
        if entry is None or not entry.is_directory:
            what = "is not there" if entry is None else "is no directory"
            raise DockerfileError(f"invalid subdir {source.folder!r} of {source.url}: {current} {what}")
    return place / current
