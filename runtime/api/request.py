"""One request: parameters, body and answer."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import anyio

from runtime.api import documents, versions
from runtime.api.connection import ClientConnection
from runtime.api.intake import within
from runtime.engine.times import moment
from runtime.errors import BadRequestError, BodyTooLargeError, EngineError
from runtime.http.codec import LAST_CHUNK, Body, Head, ProtocolError, chunk
from runtime.streaming import Source

T = TypeVar("T")
LONGEST_NUMBER = 18
LOWEST_ERROR = 400
NULL = b"null\n"
"""The JSON document null."""
REASONS = {
    101: "UPGRADED", 200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified", 400: "Bad Request",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
    413: "Request Entity Too Large", 500: "Internal Server Error", 431: "Request Header Fields Too Large", 501: "Not Implemented",
    503: "Service Unavailable",
}  # fmt: skip
BASE_HEADERS = {
    "Api-Version": versions.shown(versions.HIGHEST),
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": "Skiff (linux)",
}


class Request:
    """A request: `path` without the version prefix, `queries` by name, and a body that is read on demand."""

    def __init__(self, connection: ClientConnection, head: Head, confirm: Callable[[], Awaitable[None]]) -> None:
        """`confirm` is awaited before a change is confirmed: it syncs the store, so the change survives a power cut."""
        self.connection = connection
        self._confirm = confirm
        self.method = head.first
        self.headers = head.headers
        self.wants_upgrade = head.wants_upgrade
        self.path, self.queries = _target(head.second)
        self._body = Body(head)
        self._is_chunked = head.third != "HTTP/1.0"
        self.keeps_alive = head.headers.get("connection", "").lower() != "close" and self._is_chunked
        self.version = versions.UNNAMED
        """The version of the API that it is answered in."""
        self.names_version = False
        self.arguments: tuple[str, ...] = ()
        self.has_answered = False
        self.is_hijacked = False
        self._expects = head.headers.get("expect", "").lower() == "100-continue"

    def text(self, name: str, default: str | None = None) -> str | None:
        """Return a query parameter."""
        values = self.queries.get(name)
        return values[0] if values else default

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a boolean query parameter, parsed as Docker does."""
        value = self.text(name)
        return default if value is None else value.strip().lower() not in ("", "0", "no", "false", "none")

    def number(self, name: str) -> int | None:
        """Return an integer query parameter. Raises BadRequestError."""
        value = self.text(name)
        if value in (None, ""):
            return None
        try:
            return int(value[:LONGEST_NUMBER])
        except ValueError:
            # Docker's own words, as it reads numbers with Go's strconv
            raise BadRequestError(
                f'strconv.Atoi: parsing "{value}": invalid syntax', f"{name} is a whole number"
            ) from None

    def moment(self, name: str) -> int | None:
        """Return a time query parameter in nanoseconds since 1970, None if not given. Raises BadRequestError."""
        value = self.text(name)
        return None if value in (None, "", "0") else moment(str(value), time.time_ns())

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives."""
        if self._expects:
            self._expects = False
            await self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        buffer = self.connection.buffer
        while True:
            data = bytes(buffer)
            buffer.clear()
            try:
                for piece in self._body.feed(data):
                    yield piece
            except ProtocolError as error:
                raise BadRequestError(f"invalid request body: {error}") from error
            if self._body.is_complete:
                buffer += self._body.rest()
                self._body = Body(Head("", "", "", {}))
                return
            with within(self.connection.intake.limits.pause_s, "the next piece of the request's body"):
                await self.connection.fill()

    async def _document(self, most_bytes: int) -> bytes:
        """Return the whole body. Raises EngineError if it is too large or too slow."""
        limits = self.connection.intake.limits
        if (self._body.left or 0) > most_bytes:
            raise self._too_large(self._body.left, most_bytes)
        data = bytearray()
        with self.connection.intake.holding() as hold, within(limits.document_s, "the request's body"):
            async for piece in self.chunks():
                data += piece
                hold.add(len(piece))
                if len(data) > most_bytes:
                    raise self._too_large(None, most_bytes)
        return bytes(data)

    def _too_large(self, size: int | None, most_bytes: int) -> EngineError:
        given = "more" if size is None else f"{size:,} bytes"
        return BodyTooLargeError(
            f"the request's body is too large: it has {given}, and the limit of a document is {most_bytes:,} bytes",
            "send files as archives, which may have any size",
        )

    async def json(self, kind: type[T], *, is_optional: bool = True, most_bytes: int = documents.LARGEST_BYTES) -> T:
        """Parse the body's JSON object and check that it is a `kind` (`runtime.bodies`).

        With `is_optional` an empty body is an empty object. Raises BadRequestError, and EngineError if the body is larger
        than `most_bytes` or too slow.
        """
        data = await self._document(most_bytes)
        if not data.strip():
            if is_optional:
                return kind()
            raise BadRequestError("invalid JSON: got EOF while reading request body")
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in ("", "application/json"):
            raise BadRequestError(f"unsupported Content-Type header ({media_type}): must be 'application/json'")
        return await documents.parse(data, kind)

    async def drain(self) -> bool:
        """Read the rest of the body; return whether the connection can be used for another request.

        It can't if the body takes too long. Even without another request the rest must be read: closing a connection with
        unread data resets it, and the client may lose the answer (RFC 9112, section 9.6).
        """
        if self.is_hijacked or (self._expects and not self._body.is_complete):
            return False  # the client still waits for "100 Continue", and we have answered already
        if not self._body.is_complete:
            # errors are ignored: the request has been answered
            with suppress(EngineError), anyio.move_on_after(self.connection.intake.limits.linger_s):
                async for _ in self.chunks():
                    pass
        return self.keeps_alive and self._body.is_complete

    @property
    def _changes_things(self) -> bool:
        """Whether its method is not a safe one (RFC 9110, "Safe Methods")."""
        return self.method not in ("GET", "HEAD", "OPTIONS")

    # --- answers

    async def _begin(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send the head and the body in one call, as each send releases and reacquires the GIL."""
        self.has_answered = True
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}"]
        about = {**BASE_HEADERS, "Date": formatdate(usegmt=True), **headers}
        lines += [f"{name}: {value}" for name, value in about.items()]
        await self.connection.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)

    async def answer(
        self,
        status: int,
        document: Any = None,
        *,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with a JSON document (or bytes with Content-Type `kind`), without a body if it is None."""
        if self._changes_things and status < LOWEST_ERROR:
            await self._confirm()
        if document is None:
            data = b""
        elif isinstance(document, bytes):
            data = document
        else:
            data = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        about = {**(headers or {})}
        if status not in (204, 304):
            about |= {"Content-Length": str(len(data)), "Content-Type": kind}
        await self._begin(status, about, b"" if self.method == "HEAD" else data)

    async def stream(
        self,
        source: Source[T],
        *,
        encode: Callable[[T], bytes],
        kind: str = "application/json",
        waits: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with a chunked body, piece by piece as `source` sends them, until its end or the client disconnects.

        `encode` converts a piece to bytes. With `waits` the head is sent with the first piece, so that an error of
        `source` before it still determines the status.
        """
        async with anyio.create_task_group() as group:

            async def begin() -> None:
                about = {"Content-Type": kind, **(headers or {}), **self._framing()}
                await self._begin(200, about)
                # not earlier: before the first piece `source` may still be reading the request's body
                group.start_soon(self._watch, group.cancel_scope)

            async def send(piece: T) -> None:
                if not self.has_answered:
                    await begin()
                if data := encode(piece):
                    await self.connection.send(chunk(data) if self._is_chunked else data)

            if not waits:
                await begin()
            await source(send)
            if self._changes_things:
                await self._confirm()
            if not self.has_answered:
                await begin()
            if self._is_chunked:
                await self.connection.send(LAST_CHUNK)
            group.cancel_scope.cancel()

    def _framing(self) -> dict[str, str]:
        """Return the headers that determine the body's end; in HTTP/1.0 it is the end of the connection."""
        if self._is_chunked:
            return {"Transfer-Encoding": "chunked"}
        self.keeps_alive = False
        return {"Connection": "close"}

    async def _watch(self, scope: anyio.CancelScope) -> None:
        """Cancel `scope` when the client disconnects, which is not noticed while nothing is sent."""
        await self.connection.hung_up()
        self.keeps_alive = False
        scope.cancel()

    async def hijack(self, kind: str) -> ClientConnection:
        """Hijack the connection for raw bytes in both directions (Docker Engine API, "Attach", hijacking)."""
        if self.wants_upgrade:
            return await self.upgrade({"Content-Type": kind, "Connection": "Upgrade", "Upgrade": "tcp"})
        return await self._take_over(200, {"Content-Type": kind})

    async def upgrade(self, headers: Mapping[str, str]) -> ClientConnection:
        """Switch the connection to the protocol in `headers`."""
        return await self._take_over(101, headers)

    async def _take_over(self, status: int, headers: Mapping[str, str]) -> ClientConnection:
        await self._begin(status, headers)
        self.is_hijacked = True
        self.keeps_alive = False
        return self.connection


def _target(text: str) -> tuple[str, dict[str, list[str]]]:
    """Split a request's target into path and queries; repeated slashes are collapsed, as in Docker."""
    try:
        if not text.startswith("/"):  # RFC 9112, "absolute-form"
            split = urlsplit(text)
            text = f"{split.path}?{split.query}"
        path, _, query = text.partition("?")
        return re.sub("//+", "/", unquote(path)), parse_qs(query, keep_blank_values=True)
    except ValueError as error:
        raise ProtocolError(f"invalid request target: {error}") from error


def line(document: Mapping[str, Any]) -> bytes:
    """Encode a JSON document as a line, as Docker does in streams."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\r\n"
