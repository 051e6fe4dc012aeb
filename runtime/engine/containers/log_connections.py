"""Connections to where log drivers send: datagrams, streams, streams by TLS, and receivers that confirm messages."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from runtime.container.logs.messages import acknowledged, chunk_of
from runtime.container.logs.remote import DATAGRAM, STREAM, Destination, Tls
from runtime.errors import BadRequestError

if TYPE_CHECKING:
    import ssl

CONNECT_S = 10.0
MOST_UNCONFIRMED = 64
"""As many messages wait for their confirmations: a receiver whose answers are not read would stop reading."""
READ_BYTES = 1 << 16
Result = TypeVar("Result")


class TlsError(OSError):
    """No connection by TLS came about; `message` says why."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EPROTO, message)
        self.message = message


class ReceiverConnection:
    """A connected, non-blocking socket to a destination; `confirms` says whether the receiver confirms messages."""

    def __init__(self, connected: socket.socket, *, confirms: bool = False) -> None:
        self._socket = connected
        self._is_stream = connected.type == socket.SOCK_STREAM
        self._confirms = confirms

    async def send(self, messages: Sequence[bytes]) -> None:
        """Send messages, and wait until the receiver has confirmed them if it does that.

        Raises OSError. A datagram that is too long, or that no UDP port takes, is lost.
        """
        if not self._is_stream:
            for message in messages:
                await self._send_datagram(message)
            return
        if self._is_closed():
            raise _reset()
        if not self._confirms:
            await self._send_all(b"".join(messages))
            return
        for start in range(0, len(messages), MOST_UNCONFIRMED):
            some = messages[start : start + MOST_UNCONFIRMED]
            await self._send_all(b"".join(some))
            await self._confirmed({chunk_of(message) for message in some})

    async def _send_datagram(self, message: bytes) -> None:
        try:
            await self._send_some(memoryview(message))
        except OSError as error:
            if self._socket.family == socket.AF_UNIX and error.errno != errno.EMSGSIZE:
                raise

    async def _send_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[await self._send_some(view) :]

    async def _confirmed(self, waiting: set[bytes]) -> None:
        received = b""
        while waiting:
            data = await self._receive()
            if not data:
                raise _reset()
            received += data
            waiting -= acknowledged(received)

    async def _send_some(self, data: memoryview) -> int:
        while True:
            try:
                return self._socket.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._socket.recv(READ_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)

    def _is_closed(self) -> bool:
        """Whether the receiver has closed the connection: a first write to it would succeed, and be lost."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _reset() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


class TlsReceiverConnection(ReceiverConnection):
    """The same by TLS."""

    def __init__(self, secured: ssl.SSLSocket, *, confirms: bool = False) -> None:
        super().__init__(secured, confirms=confirms)
        self._secured = secured

    async def handshake(self) -> None:
        """Agree on keys, and check the receiver's certificate. Raises TlsError, OSError."""
        import ssl

        try:
            await self._ready(self._secured.do_handshake)
        except ssl.SSLCertVerificationError as error:
            raise TlsError(f"tls: failed to verify certificate: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise TlsError(f"tls: {error.reason or error}".lower().replace("_", " ")) from error

    async def _send_some(self, data: memoryview) -> int:
        return await self._ready(lambda: self._secured.send(data))

    async def _receive(self) -> bytes:
        return await self._ready(lambda: self._secured.recv(READ_BYTES))

    async def _ready(self, call: Callable[[], Result]) -> Result:
        """Return what `call` does once the socket is ready: TLS may read in order to write, and the other way round."""
        import ssl

        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                await anyio.wait_readable(self._secured)
            except ssl.SSLWantWriteError:
                await anyio.wait_writable(self._secured)

    def _is_closed(self) -> bool:
        import ssl

        if self._confirms:  # what is there to read is a confirmation
            return False
        try:
            # receivers send nothing but the end, and what TLS itself needs
            return not self._secured.recv(1)
        except ssl.SSLWantReadError:
            return False


async def connect(target: Destination) -> ReceiverConnection:
    """Return a connection to a destination. Raises OSError, TimeoutError, BadRequestError for unusable certificates."""
    if target.paths:
        return _connect_unix(target)
    kind = socket.SOCK_STREAM if target.kind == STREAM else socket.SOCK_DGRAM
    with anyio.fail_after(CONNECT_S):
        found = await anyio.getaddrinfo(target.host, target.port, type=kind)
        family, _, _, _, address = found[0]
        made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            try:
                made.connect(address)
            except BlockingIOError:
                await anyio.wait_writable(made)
                if number := made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(number, os.strerror(number)) from None
            if target.tls is not None:
                return await _secured(made, target, target.tls)
        except BaseException:
            made.close()
            raise
    return ReceiverConnection(made, confirms=target.confirms)


async def _secured(connected: socket.socket, target: Destination, tls: Tls) -> TlsReceiverConnection:
    context = await anyio.to_thread.run_sync(_context, tls)
    secured = context.wrap_socket(connected, do_handshake_on_connect=False, server_hostname=target.host)
    connection = TlsReceiverConnection(secured, confirms=target.confirms)
    try:
        await connection.handshake()
    except BaseException:
        connection.close()
        raise
    return connection


def _context(tls: Tls) -> ssl.SSLContext:
    """Return what TLS is spoken with. Blocking: to import it and to read the machine's certificates takes some time."""
    import ssl

    context = ssl.create_default_context()
    if tls.trusts_anybody:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_file:
        _load(lambda: context.load_verify_locations(tls.ca_file), "could not read CA certificate", tls.ca_file)
    if tls.certificate_file or tls.key_file:
        certificate, key = tls.certificate_file, tls.key_file
        _load(lambda: context.load_cert_chain(certificate, key), "could not load X509 key pair", certificate, key)
    return context


def _load(call: Callable[[], None], problem: str, *files: str) -> None:
    for file in files:
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise BadRequestError(f"{problem}: open {file}: {reason}", "name files that the engine can read") from error
    try:
        call()
    except OSError as error:  # ssl's errors are such
        raise BadRequestError(
            f'{problem} "{files[0]}": {getattr(error, "reason", None) or error}',
            "give files in PEM that belong together",
        ) from error


def _connect_unix(target: Destination) -> ReceiverConnection:
    kinds = {DATAGRAM: (socket.SOCK_DGRAM,), STREAM: (socket.SOCK_STREAM,)}
    refused: OSError | None = None
    for path in target.paths:
        for kind in kinds.get(target.kind, (socket.SOCK_DGRAM, socket.SOCK_STREAM)):
            made = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            try:
                made.connect(path)
            except OSError as error:
                refused = error
                made.close()
            else:
                return ReceiverConnection(made, confirms=target.confirms)
    assert refused is not None
    raise refused
