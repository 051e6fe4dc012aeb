"""One registry, as the OCI distribution specification has it: manifests, blobs, uploads; errors a user can act on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

import anyio
import anyio.to_thread

from runtime.errors import BadRequestError, EngineError, NotFoundError
from runtime.image.manifest import ACCEPTED, Descriptor, Index, Manifest, parse
from runtime.image.reference import DEFAULT_DOMAIN, Reference
from runtime.image.registry_auth import Credentials, authorize, constant, parse_challenges
from runtime.image.registry_http import Body, HttpClient, Origin, Response, TransferError, is_loopback
from runtime.image.registry_settings import RegistrySettings
from runtime.image.retries import pause_wanted, tried_again

Answer = TypeVar("Answer")

LARGEST_MANIFEST_BYTES = 4 << 20
LARGEST_ERROR_BYTES = 1 << 20
HUB = "registry-1.docker.io"
UPLOAD_CHUNK_BYTES = 1 << 20
_NEXT = re.compile(r'<([^>]+)>; *rel="?next"?')
PULL, PUSH = "pull", "pull,push"


@dataclass(frozen=True)
class Found:
    """A manifest as the registry gave it: its own bytes, their digest and type, and what they say."""

    raw: bytes
    digest: str
    media_type: str
    parsed: Manifest | Index


class Registry:
    """The registry at `domain`, asked with `credentials`; `bases` are addresses to try, the first that answers stays."""

    def __init__(
        self, http: HttpClient, domain: str, credentials: Credentials | None = None, bases: Sequence[str] = ()
    ) -> None:
        self.domain = domain
        self._http = http
        self._credentials = credentials
        self._bases = list(bases or addresses(domain, RegistrySettings()))
        self._authorizations: dict[str, str] = {}

    @property
    def _base(self) -> str:
        return self._bases[0]

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        domain: str,
        credentials: Credentials | None = None,
        settings: RegistrySettings | None = None,
        mirror: str | None = None,
    ) -> AsyncIterator[Registry]:
        """Provide the registry, or its `mirror`, with connections of its own, closed when the block ends.

        `settings` are those of this machine when None. Raises BadRequestError when they can't be read.
        """
        settings = RegistrySettings.read(os.environ) if settings is None else settings
        bases = [f"{mirror.rstrip('/')}/v2/"] if mirror else addresses(domain, settings)
        async with HttpClient(trusts_anybody=settings.is_insecure) as http:
            # a mirror is another server: the credentials are not for it
            yield cls(http, domain, None if mirror else credentials, bases)

    @classmethod
    async def first_that_answers(
        cls,
        stack: AsyncExitStack,
        domain: str,
        credentials: Credentials | None,
        ask: Callable[[Registry], Awaitable[Answer]],
    ) -> tuple[Registry, Answer]:
        """Return the first of the mirrors that answers `ask`, or else the registry itself, and its answer.

        Mirrors stand for Docker's own registry alone, and one that fails is passed over. What is returned stays open as
        long as `stack`. Raises EngineError.
        """
        settings = RegistrySettings.read(os.environ)
        for mirror in settings.mirrors if domain == DEFAULT_DOMAIN else ():
            attempt = await stack.enter_async_context(cls.open(domain, None, settings, mirror))
            try:
                return attempt, await ask(attempt)
            except EngineError:
                continue
        registry = await stack.enter_async_context(cls.open(domain, credentials, settings))
        return registry, await ask(registry)

    # --- reading

    async def check(self) -> None:
        """Ask whether the registry takes the credentials. Raises EngineError (401) when it does not."""
        async with await self._ask("GET", "", "", "") as response:
            if response.status not in (200, 404):
                raise await self._failure(response, self.domain)

    async def manifest(self, reference: Reference) -> Found:
        """Fetch the manifest or index that `reference` names; what fails once is tried again. Raises EngineError."""
        return await tried_again(lambda: self._manifest(reference))

    async def _manifest(self, reference: Reference) -> Found:
        wanted = reference.digest or reference.tag or "latest"
        target = f"{quote(reference.path)}/manifests/{quote(wanted, safe=':')}"
        async with await self._ask("GET", target, reference.path, PULL, {"Accept": ", ".join(ACCEPTED)}) as response:
            if response.status != 200:
                raise await self._failure(response, reference.familiar)
            raw = await response.read(LARGEST_MANIFEST_BYTES)
            kind = response.headers.get("content-type", "").partition(";")[0].strip()
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if reference.digest is not None and reference.digest != digest:
            raise BadRequestError(
                f"{self.domain} gave a manifest of digest {digest} for {reference.familiar}",
                "it was damaged or replaced on its way: try again, and ask who runs the registry",
            )
        parsed = parse(raw, kind)
        return Found(raw, digest, json.loads(raw).get("mediaType") or kind, parsed)

    async def tags(self, path: str) -> list[str]:
        """Return the tags of the repository `path` (OCI distribution spec, "Listing Tags"). Raises EngineError."""
        return await tried_again(lambda: self._tags(path))

    async def _tags(self, path: str) -> list[str]:
        found: list[str] = []
        target = f"{quote(path)}/tags/list"
        while target:
            async with await self._ask("GET", target, path, PULL) as response:
                if response.status != 200:
                    raise await self._failure(response, f"{self.domain}/{path}")
                document = json.loads(await response.read(LARGEST_MANIFEST_BYTES))
                link = _NEXT.search(response.headers.get("link", ""))
            found += [tag for tag in document.get("tags") or () if isinstance(tag, str)]
            target = urljoin(self._base, link[1]) if link else ""
        return found

    async def blob(self, path: str, descriptor: Descriptor, offset: int = 0) -> Response:
        """Begin to fetch a blob of the repository `path` from byte `offset` on; the answer's status may be 206 or 200.

        Raises EngineError.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = await self._ask("GET", f"{quote(path)}/blobs/{descriptor.digest}", path, PULL, headers)
        if response.status not in (200, 206):
            async with response:
                raise await self._failure(response, f"{self.domain}/{path}@{descriptor.digest}")
        return response

    async def small_blob(self, path: str, descriptor: Descriptor, most: int) -> bytes:
        """Return a blob of at most `most` bytes whole, its digest checked. Raises EngineError."""

        async def once() -> bytes:
            async with await self.blob(path, descriptor) as response:
                return await response.read(most)

        raw = await tried_again(once)
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != descriptor.digest:
            raise BadRequestError(
                f"{self.domain} gave other content for blob {descriptor.digest} of {path}", "it was damaged: try again"
            )
        return raw

    async def has_blob(self, path: str, digest: str) -> bool:
        """Whether the repository `path` has the blob."""
        async with await self._ask("HEAD", f"{quote(path)}/blobs/{digest}", path, PUSH) as response:
            return response.status == 200

    # --- writing

    async def mount(self, path: str, digest: str, source: str) -> bool:
        """Have the registry take the blob over from its repository `source`; return whether it did."""
        query = urlencode({"mount": digest, "from": source})
        scope = f"repository:{source}:{PULL}"
        async with await self._ask("POST", f"{quote(path)}/blobs/uploads/?{query}", path, PUSH, also=scope) as response:
            if response.status == 202 and (location := response.headers.get("location")):
                await self._abandon(path, urljoin(response.url, location))
            return response.status == 201

    async def _abandon(self, path: str, location: str) -> None:
        async with await self._ask("DELETE", location, path, PUSH):
            pass

    async def upload(self, path: str, descriptor: Descriptor, body: Body) -> None:
        """Upload a blob in one piece ("POST then PUT"). Raises EngineError."""
        async with await self._ask("POST", f"{quote(path)}/blobs/uploads/", path, PUSH) as response:
            location = response.headers.get("location")
            if response.status != 202 or location is None:
                raise await self._failure(response, f"{self.domain}/{path}")
            target = urljoin(response.url, location)
        target += ("&" if "?" in target else "?") + urlencode({"digest": descriptor.digest})
        headers = {"Content-Type": "application/octet-stream"}
        async with await self._ask("PUT", target, path, PUSH, headers, body=body, length=descriptor.size) as response:
            if response.status not in (201, 202, 204):
                raise await self._failure(response, f"{self.domain}/{path}")

    async def put_manifest(self, reference: Reference, raw: bytes, media_type: str) -> None:
        """Put the manifest `raw` under the reference's tag. Raises EngineError."""
        target = f"{quote(reference.path)}/manifests/{reference.tag or reference.digest}"
        async with await self._ask(
            "PUT",
            target,
            reference.path,
            PUSH,
            {"Content-Type": media_type},
            body=constant(raw),
            length=len(raw),
        ) as response:
            if response.status not in (201, 202):
                raise await self._failure(response, reference.familiar)

    # --- asking

    async def _ask(
        self,
        method: str,
        target: str,
        path: str,
        actions: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: Body | None = None,
        length: int | None = None,
        also: str = "",
    ) -> Response:
        """Make a request, answering a 401 once; `also` is a further scope. Raises EngineError."""
        scope = f"repository:{path}:{actions}" if path else ""
        scopes = f"{scope} {also}".strip()
        known = self._authorizations.get(scopes)
        try:
            url, response = await self._first_answer(method, target, headers or {}, known, body, length)
            if response.status != 401:
                return response
            async with response:
                challenges = parse_challenges(response.headers.get("www-authenticate", ""))
                answer = await authorize(self._http, challenges, self._credentials, scopes)
                if answer is None:
                    raise await self._failure(response, f"{self.domain}/{path}" if path else self.domain)
            self._authorizations[scopes] = answer
            return await self._http.open(
                method, url, {**(headers or {}), **self._carried(url, answer)}, body=body, length=length
            )
        except TransferError as error:
            if not error.is_unreachable:
                raise
            raise TransferError(
                f"the registry {self.domain} can't be reached: {error.message}",
                "check its name and the network; where there is none, `skiff image load` an archive or "
                "`skiff image bootstrap` a Debian base",
                is_unreachable=True,
            ) from error

    async def _first_answer(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        known: str | None,
        body: Body | None,
        length: int | None,
    ) -> tuple[str, Response]:
        """Ask at the first address, and at the next one where that can't be reached; return the one that answered."""
        while True:
            url = urljoin(self._base, target)
            try:
                carried = {**headers, **self._carried(url, known)}
                return url, await self._http.open(method, url, carried, body=body, length=length)
            except TransferError as error:
                if len(self._bases) == 1 or not error.is_unreachable:
                    raise
                self._bases.pop(0)

    def _carried(self, url: str, authorization: str | None) -> dict[str, str]:
        """Return the Authorization header, for the registry itself alone: uploads may lead elsewhere."""
        is_own = Origin.of(urlsplit(url)) == Origin.of(urlsplit(self._base))
        return {"Authorization": authorization} if authorization and is_own else {}

    async def _failure(self, response: Response, name: str) -> EngineError:
        """Return the error that a refusing answer is (distribution specification, "Error Codes")."""
        status = response.status
        try:
            data = await response.read(LARGEST_ERROR_BYTES)
        except TransferError:
            data = b""
        code, message = _error_of(data)
        login = f"log in: `docker login{'' if self.domain == DEFAULT_DOMAIN else ' ' + self.domain}`"
        if status in (401, 403):
            if self._credentials is None:
                return NotFoundError(
                    f"pull access denied for {name}: it does not exist, or {self.domain} wants to know who asks "
                    f"({message or 'unauthorized'})",
                    f"check the name, or {login}",
                )
            return EngineError(f"{self.domain} refuses these credentials for {name}: {message or 'denied'}", login, 401)
        if status == 404:
            if code == "NAME_UNKNOWN":
                return NotFoundError(f"{name} not found: {self.domain} has no such repository", "check the name")
            return NotFoundError(f"{name} not found: {message or 'manifest unknown'}", "check the name and the tag")
        if status == 429:
            return TransferError(
                f"{self.domain} allows no more requests for now (toomanyrequests): {message}",
                f"wait, or {login}",
                pause_s=pause_wanted(response.headers.get("retry-after", "")),
            )
        detail = f": {message}" if message else ""
        if status >= 500:
            return TransferError(
                f"{self.domain} failed with status {status} for {name}{detail}",
                "try again later",
                pause_s=pause_wanted(response.headers.get("retry-after", "")),
            )
        return EngineError(f"{self.domain} refused {name} with status {status}{detail}", None, 500)


def addresses(domain: str, settings: RegistrySettings) -> list[str]:
    """Return the base addresses of a registry: by TLS, and where that is not asked for, plainly too."""
    host = HUB if domain == DEFAULT_DOMAIN else domain
    name = urlsplit(f"//{host}").hostname or host
    if is_loopback(name):
        return [f"http://{host}/v2/"]
    return [f"{scheme}://{host}/v2/" for scheme in (("https", "http") if settings.is_insecure(host) else ("https",))]


def _error_of(data: bytes) -> tuple[str, str]:
    """Return the first code and message of an error answer, both empty when it has none."""
    try:
        first: Any = json.loads(data)["errors"][0]
        return str(first.get("code") or ""), str(first.get("message") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return "", ""


def file_body(path: Path, progress: Any = None) -> Body:
    """Return a request body that reads the file at `path`; `progress` takes the bytes sent so far."""

    async def pieces() -> AsyncIterator[bytes]:
        sent = 0
        async with await anyio.open_file(path, "rb") as file:
            while data := await file.read(UPLOAD_CHUNK_BYTES):
                yield data
                sent += len(data)
                if progress is not None:
                    progress(sent)

    return pieces
