"""Files that ADD fetches by HTTP: once, and again only when the server says that they changed.

Source: Dockerfile reference, "Adding files from a URL".
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread

from runtime.build.cache import BuildCache
from runtime.build.errors import DockerfileError
from runtime.build.git import is_git
from runtime.errors import SkiffError
from runtime.image.registry_http import HttpClient, Response

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")


UNNAMED = "__unnamed__"
"""What a file is called whose URL has no name, as BuildKit calls it."""


@dataclass(frozen=True)
class RemoteFile:
    """What a URL holds: its digest (hex SHA-256), its time, and where it lies once it is here."""

    url: str
    digest: str
    mtime_ns: int = 0
    path: Path | None = None

    @property
    def name(self) -> str:
        """The file's name: the last part of the URL's path, where that is one."""
        name = unquote(urlsplit(self.url).path.rpartition("/")[2])
        return UNNAMED if name in ("", ".", "..") or "/" in name else name


def is_remote(source: str) -> bool:
    """Return whether ADD fetches `source`, as a file or a repository."""
    return source.startswith(("http://", "https://")) or is_git(source)


def checked_sum(checksum: str | None, source: str) -> str | None:
    """Return the hex digest of `--checksum`, None without one. Raises DockerfileError."""
    if checksum is None:
        return None
    if not is_remote(source):
        raise DockerfileError("checksum requires remote sources", hint="take --checksum away, or ADD a URL")
    if not _CHECKSUM.fullmatch(checksum):
        raise DockerfileError(f"invalid checksum {checksum!r}", hint="write sha256: and 64 hex digits")
    return checksum.partition(":")[2]


class Fetcher:
    """Fetches the remote files of one build into a directory of its own."""

    def __init__(self, cache: BuildCache, directory: Path) -> None:
        self._cache = cache
        self._directory = directory

    async def known(self, url: str, checksum: str | None) -> RemoteFile:
        """Return what `url` holds now: fetched, unless a checksum or the server says that it is what it was.

        Raises DockerfileError.
        """
        if checksum is not None:
            return RemoteFile(url, checksum)
        known = self._cache.recall(_key(url))
        tags = {"If-None-Match": known["etag"]} if known.get("etag") else {}
        return await self._fetch(url, tags, RemoteFile(url, known["digest"], known["mtime_ns"]) if tags else None)

    async def present(self, file: RemoteFile) -> RemoteFile:
        """Return `file` with its content here. Raises DockerfileError when its digest is another than expected."""
        if file.path is not None:
            return file
        found = await self._fetch(file.url, {}, None)
        if found.digest != file.digest:
            raise DockerfileError(
                f"digest mismatch for {file.url}: sha256:{found.digest}, expected sha256:{file.digest}",
                hint="check the URL; where the new content is right, correct --checksum",
            )
        return found

    async def _fetch(self, url: str, headers: dict[str, str], known: RemoteFile | None) -> RemoteFile:
        try:
            async with HttpClient() as http, await http.open("GET", url, headers) as response:
                if response.status == 304 and known is not None:
                    return known
                if response.status != 200:
                    raise DockerfileError(f"failed to load {url}: the server answered with status {response.status}")
                return await self._saved(url, response)
        except DockerfileError:
            raise
        except SkiffError as error:
            raise DockerfileError(f"failed to load {url}: {error.message}", hint=error.hint) from error

    async def _saved(self, url: str, response: Response) -> RemoteFile:
        descriptor, name = await anyio.to_thread.run_sync(lambda: tempfile.mkstemp(dir=self._directory, prefix="url-"))
        digest = hashlib.sha256()
        with os.fdopen(descriptor, "wb") as file:
            async for data in response.chunks():
                digest.update(data)
                await anyio.to_thread.run_sync(file.write, data)
        mtime_ns = _time_ns(response.headers.get("last-modified", ""))
        os.utime(name, ns=(mtime_ns, mtime_ns))
        etag = response.headers.get("etag", "")
        self._cache.remember(_key(url), {"etag": etag, "digest": digest.hexdigest(), "mtime_ns": mtime_ns})
        return RemoteFile(url, digest.hexdigest(), mtime_ns, Path(name))


def _key(url: str) -> str:
    return f"url:{hashlib.sha256(url.encode()).hexdigest()}"


def _time_ns(text: str) -> int:
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except ValueError:
        return 0
