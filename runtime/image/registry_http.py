"""HTTP/1.1 to registries: connections kept and reused, TLS, proxies; h11 over anyio streams, no policy of its own."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import anyio
import anyio.abc
import h11

from runtime.errors import UnavailableError

CONNECT_TIMEOUT_S = 20.0
SILENCE_TIMEOUT_S = 60.0
READ_BYTES = 1 << 18
LARGEST_HEAD_BYTES = 64 << 10
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
CERTIFICATES = Path("/etc/docker/certs.d")
TRY_AGAIN = "try again; look at the registry, and at proxies on the way to it, if that changes nothing"

Body = Callable[[], AsyncIterator[bytes]]
"""Gives a request's body from its start each time it is called: a request may have to be sent again."""


class TransferError(UnavailableError):
    """The peer could not be reached, or the connection broke: trying again may help.

    `is_unreachable` says that there was no connection at all, `pause_s` what the peer wants to be left alone for.
    """

    def __init__(
        self, message: str, hint: str | None = TRY_AGAIN, *, is_unreachable: bool = False, pause_s: float | None = None
    ) -> None:
        super().__init__(message, hint)
        self.is_unreachable = is_unreachable
        self.pause_s = pause_s


class _Stale(Exception):
    """A kept connection was closed by the peer before it answered."""


@dataclass(frozen=True)
class Origin:
    """Where a connection leads."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: SplitResult) -> Origin:
        """Return the origin of `url`. Raises TransferError when it names none."""
        if url.scheme not in ("http", "https") or not url.hostname:
            raise TransferError(f"the address {url.geturl()} is neither http nor https")
        return cls(url.scheme, url.hostname, url.port or (443 if url.scheme == "https" else 80))

    @property
    def name(self) -> str:
        """Host and port as a Host header writes them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


class Connection:
    """One connection and the state of HTTP on it."""

    def __init__(self, origin: Origin, stream: anyio.abc.ByteStream) -> None:
        self.origin = origin
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD_BYTES)
        self._stream = stream
        self._has_ended = False

    async def send(self, event: Any) -> None:
        """Send an event of h11. Raises TransferError."""
        try:
            data = self.http.send(event)
        except h11.LocalProtocolError as error:
            raise TransferError(f"{self.origin.name} ended the connection while it was sent something") from error
        if data:
            try:
                with anyio.fail_after(SILENCE_TIMEOUT_S):
                    await self._stream.send(data)
            except (OSError, TimeoutError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                raise TransferError(f"{self.origin.name} does not take what is sent: {_reason(error)}") from error

    async def receive(self) -> Any:
        """Return the next event. Raises TransferError."""
        while True:
            try:
                event = self.http.next_event()
            except h11.RemoteProtocolError as error:
                what = "hung up before its answer was whole" if self._has_ended else "gave an answer that is no HTTP"
                raise TransferError(f"{self.origin.name} {what}") from error
            if event is not h11.NEED_DATA:
                return event
            try:
                with anyio.fail_after(SILENCE_TIMEOUT_S):
                    data = await self._stream.receive(READ_BYTES)
            except anyio.EndOfStream:
                data = b""
                self._has_ended = True
            except (OSError, TimeoutError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                raise TransferError(f"{self.origin.name} broke off: {_reason(error)}") from error
            self.http.receive_data(data)

    async def close(self) -> None:
        """Hang up, without ado."""
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)


class Response:
    """An answer: its head now, its body as it is read. Leaving the `async with` block gives the connection back."""

    def __init__(self, client: HttpClient, connection: Connection, url: str, head: h11.Response) -> None:
        self._client = client
        self._connection = connection
        self.url = url
        self.status = head.status_code
        self.headers = {name.decode().lower(): value.decode("latin-1") for name, value in head.headers}

    def continues_at(self, offset: int) -> bool:
        """Whether the body begins at byte `offset`, as a request with a Range asked for (RFC 9110, section 14.4)."""
        return self.headers.get("content-range", "").startswith(f"bytes {offset}-")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body. Raises TransferError."""
        while True:
            event = await self._connection.receive()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            else:
                return

    async def read(self, most: int) -> bytes:
        """Return the body, of at most `most` bytes. Raises TransferError when it is longer."""
        data = bytearray()
        async for piece in self.chunks():
            data += piece
            if len(data) > most:
                raise TransferError(f"{self.url} answered with more than {most} bytes")
        return bytes(data)

    async def __aenter__(self) -> Response:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        http = self._connection.http
        if kind is None and http.our_state is h11.DONE and http.their_state is h11.SEND_BODY:
            with anyio.move_on_after(1):  # an empty or small rest is read, so that the connection can be used again
                with suppress(TransferError):
                    await self.read(READ_BYTES)
        if kind is None and http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            self._client.keep(self._connection)
        else:
            await self._connection.close()


class HttpClient:
    """Requests to any origin over kept connections. Made for one pull or push, closed with it.

    `trusts_anybody` says of a host (with its port, where that is not the usual one) that its certificate does not matter.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        agent: str = "skiff",
        trusts_anybody: Callable[[str], bool] | None = None,
    ) -> None:
        self._trusts_anybody = trusts_anybody or (lambda host: False)
        self._environ = os.environ if environ is None else environ
        self._agent = agent
        self._kept: dict[Origin, list[Connection]] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connections in self._kept.values():
            for connection in connections:
                await connection.close()
        self._kept.clear()

    def keep(self, connection: Connection) -> None:
        """Take a connection back for the next request to its origin."""
        self._kept.setdefault(connection.origin, []).append(connection)

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], *, body: Body | None = None, length: int | None = None
    ) -> Response:
        """Make a request and return its answer once the head is here; GET and HEAD follow redirects.

        `length` is the body's length in bytes. Credentials are not carried to another origin. Raises TransferError.
        """
        for _ in range(MOST_REDIRECTS):
            response = await self._once(method, url, headers, body, length)
            location = response.headers.get("location")
            if method not in ("GET", "HEAD") or response.status not in REDIRECTS or location is None:
                return response
            async with response:
                target = urljoin(url, location)
            if Origin.of(urlsplit(target)) != Origin.of(urlsplit(url)):
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url = target
        raise TransferError(f"{url} redirects more than {MOST_REDIRECTS} times")

    async def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None, length: int | None
    ) -> Response:
        split = urlsplit(url)
        origin = Origin.of(split)
        target = (split.path or "/") + (f"?{split.query}" if split.query else "")
        while kept := self._kept.get(origin):
            try:
                return await self._exchange(kept.pop(), method, url, target, headers, body, length)
            except _Stale:
                continue
        proxy = self._proxy(origin)
        connection = await self._connect(origin, proxy)
        if proxy is not None and origin.scheme == "http":
            target = url
        try:
            return await self._exchange(connection, method, url, target, headers, body, length)
        except _Stale as error:
            raise TransferError(f"{origin.name} hung up without an answer") from error

    async def _exchange(
        self,
        connection: Connection,
        method: str,
        url: str,
        target: str,
        headers: Mapping[str, str],
        body: Body | None,
        length: int | None,
    ) -> Response:
        about = [("Host", connection.origin.name), ("User-Agent", self._agent), *headers.items()]
        if body is not None or method in ("POST", "PUT", "PATCH"):
            about.append(("Content-Length", str(length or 0)))
        try:
            try:
                await connection.send(h11.Request(method=method, target=target, headers=about))
                if body is not None:
                    async for piece in body():
                        await connection.send(h11.Data(data=piece))
                await connection.send(h11.EndOfMessage())
                head = await self._head(connection)
            except TransferError as error:
                early = await self._early_answer(connection)
                if early is None:
                    if connection.http.their_state is h11.SEND_RESPONSE and body is None:
                        raise _Stale from error
                    raise
                head = early
        except BaseException:
            await connection.close()
            raise
        return Response(self, connection, url, head)

    async def _head(self, connection: Connection) -> h11.Response:
        while True:
            event = await connection.receive()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise TransferError(f"{connection.origin.name} hung up without an answer")

    async def _early_answer(self, connection: Connection) -> h11.Response | None:
        """Return what the peer said before it stopped reading, if it said anything."""
        if connection.http.our_state is not h11.SEND_BODY:
            return None
        try:
            return await self._head(connection)
        except TransferError:
            return None

    # --- connecting

    async def _connect(self, origin: Origin, proxy: Origin | None) -> Connection:
        first = proxy or origin
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                stream: anyio.abc.ByteStream = await anyio.connect_tcp(first.host, first.port)
                if proxy is not None and origin.scheme == "https":
                    await self._tunnel(stream, origin, proxy)
                if origin.scheme == "https":
                    stream = await self._secure(stream, origin)
        except TimeoutError as error:
            message = f"{first.name} did not answer within {CONNECT_TIMEOUT_S:.0f} s"
            raise TransferError(message, is_unreachable=True) from error
        except ssl.SSLError as error:
            raise TransferError(f"{origin.name}: {_tls_reason(error)}", is_unreachable=True) from error
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            raise TransferError(f"can't connect to {first.name}: {_reason(error)}", is_unreachable=True) from error
        return Connection(origin, stream)

    async def _secure(self, stream: anyio.abc.ByteStream, origin: Origin) -> anyio.abc.ByteStream:
        from anyio.streams.tls import TLSStream

        context = self._contexts.get(origin.name)
        if context is None:
            context = ssl.create_default_context()
            if self._trusts_anybody(origin.name):
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            folder = CERTIFICATES / origin.name
            for certificate in sorted(folder.glob("*.crt")):
                context.load_verify_locations(certificate)
            for certificate in sorted(folder.glob("*.cert")):
                context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            self._contexts[origin.name] = context
        try:
            return await TLSStream.wrap(stream, hostname=origin.host, ssl_context=context, standard_compatible=False)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise

    async def _tunnel(self, stream: anyio.abc.ByteStream, origin: Origin, proxy: Origin) -> None:
        """Have the proxy connect us to `origin` (RFC 9110, "CONNECT")."""
        name = f"{origin.host}:{origin.port}"
        connection = Connection(proxy, stream)
        await connection.send(h11.Request(method="CONNECT", target=name, headers=[("Host", name)]))
        await connection.send(h11.EndOfMessage())
        head = await self._head(connection)
        if head.status_code != 200:
            await connection.close()
            raise TransferError(f"the proxy {proxy.name} refused a connection to {name}: {head.status_code}")

    def _proxy(self, origin: Origin) -> Origin | None:
        """Return the proxy that the environment names for `origin` ($HTTPS_PROXY, $HTTP_PROXY, $NO_PROXY)."""
        found = {name.lower(): value for name, value in self._environ.items() if name.lower().endswith("_proxy")}
        address = found.get(f"{origin.scheme}_proxy") or found.get("all_proxy")
        if not address or is_loopback(origin.host):
            return None
        for exempt in found.get("no_proxy", "").split(","):
            name = exempt.strip().lstrip(".").lower()
            if name and (name == "*" or origin.host == name or origin.host.endswith(f".{name}")):
                return None
        return Origin.of(urlsplit(address if "://" in address else f"http://{address}"))


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine: localhost, 127.0.0.0/8 or ::1."""
    import ipaddress

    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        inner = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause
        if isinstance(inner, OSError) and inner.errno is not None and inner.errno > 0:
            return os.strerror(inner.errno)
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror  # a name that could not be looked up
        cause = inner.__cause__
    if isinstance(error, TimeoutError):
        return f"nothing came for {SILENCE_TIMEOUT_S:.0f} s"
    return str(error) or "the connection broke"


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return f"TLS failed: {error.reason or error}"
