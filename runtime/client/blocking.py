"""A blocking API client: one request at a time on a persistent connection, streams on connections of their own."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

from runtime.client.endpoint import EngineAddress
from runtime.client.start import ensure_engine
from runtime.errors import EngineError, SkiffError
from runtime.http.codec import LAST_CHUNK, Body, Head, StreamFrames, chunk, split_head
from runtime.paths import Paths
from runtime.root_lock import elsewhere

if TYPE_CHECKING:
    from runtime.bodies import CreateBody, EndpointBody, ExecConfig, NetworkBody, VolumeBody

READ_BYTES = 1 << 18
VERSION = "v1.44"
"""The version of the API that is asked for; an engine that has only an older one is asked for that."""
TOO_NEW = r"client version \S+ is too new.*?Maximum supported API version is ([0-9.]+)"
CONNECT_ATTEMPTS = 6
BROKEN_OFF = (
    "the engine closed the connection before the response was complete",
    "it was stopped, or it failed: try again; `skiff engine status` shows where its log is",
)


GO_DIRECTORY = 1 << 31
"""The bit of directories in the modes of files that the API has (Go, fs.ModeDir)."""


class PathStat(NamedTuple):
    """What is at a path in a container; `link_target` is where a symbolic link leads, else ""."""

    is_directory: bool
    link_target: str


class ResponseStream:
    """A response whose body is read while it arrives; `close` closes the connection."""

    def __init__(self, connection: socket.socket, head: Head, rest: bytes) -> None:
        self.socket = connection
        self.head = head
        self.rest = rest
        self.is_whole = False
        """Whether the body was read to its end: by its length or last chunk, else until the connection is closed."""

    @property
    def is_multiplexed(self) -> bool:
        """Whether the body is multiplexed: frames of stdout and stderr."""
        return self.head.headers.get("content-type", "").startswith("application/vnd.docker.multiplexed")

    def chunks(self) -> Iterator[bytes]:
        """Yield the body."""
        body = Body(self.head, until_close=True)
        yield from body.feed(self.rest)
        self.rest = b""
        while not body.is_complete:
            data = self.socket.recv(READ_BYTES)
            if not data:
                self.is_whole = not self.head.is_chunked and self.head.content_length is None
                return
            yield from body.feed(data)
        self.is_whole = True

    def whole(self) -> Iterator[bytes]:
        """Yield the body. Raises SkiffError if the connection is closed before its end."""
        with suppress(OSError):
            yield from self.chunks()
        if not self.is_whole:
            raise SkiffError(*BROKEN_OFF)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield (stream number, bytes) of logs or an attached container; 1 (stdout) if it is not multiplexed."""
        if not self.is_multiplexed:
            for data in self.chunks():
                yield 1, data
            return
        frames = StreamFrames()
        for data in self.chunks():
            yield from frames.feed(data)

    def documents(self, body: Iterator[bytes] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the JSON documents of a stream with one per line; `body` is read instead of `chunks` if given.

        The part of a document at which a response breaks off is not one.
        """
        buffer = b""
        for data in body or self.chunks():
            *complete, buffer = (buffer + data).split(b"\n")
            for line in complete:
                if line.strip():
                    yield json.loads(line)
        if buffer.strip() and self.is_whole:
            yield json.loads(buffer)

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def __enter__(self) -> ResponseStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client:
    """A client of one engine. Our own engine is started if it does not run, unless `starts` is false."""

    def __init__(self, where: EngineAddress, *, starts: bool = True) -> None:
        self.endpoint = where
        self._starts = starts
        self._kept: socket.socket | None = None
        self._version = VERSION

    # --- transport

    def _connect(self) -> socket.socket:
        """Connect; our own engine is started if it does not answer, or found at another run directory.

        Repeated: an engine that is shutting down may still be found, and be gone when it is connected to.
        """
        where = self.endpoint
        last: OSError | None = None
        for attempt in range(CONNECT_ATTEMPTS):
            if attempt and where.is_ours:
                own = Paths.from_environment(os.environ, os.getuid())
                found = ensure_engine(own) if self._starts else elsewhere(own)
                if found is None:
                    break
                where = self.endpoint = replace(where, path=str(found.engine_socket))
            try:
                if where.path is None:
                    return socket.create_connection((where.host, where.port))
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(where.path)
                return connection
            except PermissionError as error:
                raise SkiffError(
                    f"cannot connect to the engine at {where}: {error.strerror}",
                    "run this as the owner of the engine, or use your own engine: without -H and $DOCKER_HOST, and "
                    "with $SKIFF_RUN and $SKIFF_ROOT in directories that you own",
                ) from error
            except OSError as error:
                last = error
                if not where.is_ours:
                    break
        raise SkiffError(
            f"cannot connect to the engine at {where}: {last.strerror if last else 'no answer'}",
            "is it running? `skiff engine start` starts ours; -H and $DOCKER_HOST select another",
        )

    def _send(
        self,
        connection: socket.socket,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Iterable[bytes] | bytes | None,
        descriptors: Sequence[int] = (),
    ) -> None:
        lines = [f"{method} /{self._version}{path} HTTP/1.1", "Host: skiff", *(f"{k}: {v}" for k, v in headers.items())]
        if body is None or isinstance(body, bytes):
            data = body or b""
            lines.append(f"Content-Length: {len(data)}")
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + data)
            return
        lines.append("Transfer-Encoding: chunked")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        sent = socket.send_fds(connection, [head], descriptors) if descriptors else 0
        connection.sendall(head[sent:])
        for piece in body:
            if piece:
                connection.sendall(chunk(piece))
        connection.sendall(LAST_CHUNK)

    def _head(self, connection: socket.socket) -> tuple[Head, bytes]:
        buffer = bytearray()
        while True:
            while (found := split_head(buffer)) is None:
                data = connection.recv(READ_BYTES)
                if not data:
                    raise ConnectionResetError("the engine closed the connection")
                buffer += data
            head, length = found
            del buffer[:length]
            if head.status != 100:
                return head, bytes(buffer)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        document: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Head, bytes]:
        """Make a request; return the response's head and body. Raises the EngineError of the response's status."""
        about, body, target = _prepare(path, query, document, headers)
        for is_last in (False, True):
            connection = self._kept or self._connect()
            was_kept, self._kept = self._kept is not None, None
            try:
                self._send(connection, method, target, about, body)
                head, rest = self._head(connection)
                break
            except OSError as error:
                connection.close()
                if is_last or not was_kept:
                    raise SkiffError(
                        f"the engine at {self.endpoint} closed the connection", "try again; its log may say why"
                    ) from error
        has_body = method != "HEAD" and head.status not in (204, 304)
        data = self._body(connection, Body(head), rest) if has_body else bytearray()
        if head.headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            self._kept = connection
        if self._steps_back(head, bytes(data)):
            return self.request(method, path, query, document, headers=headers)
        _raise_for(head, bytes(data))
        return head, bytes(data)

    def _body(self, connection: socket.socket, body: Body, rest: bytes) -> bytearray:
        """Return the whole body, which begins with `rest`. Raises SkiffError if the connection is closed before its end."""
        data = bytearray().join(body.feed(rest))
        while not body.is_complete:
            try:
                more = connection.recv(READ_BYTES)
            except OSError:
                more = b""
            if not more:
                connection.close()
                raise SkiffError(*BROKEN_OFF)
            data += b"".join(body.feed(more))
        return data

    def _steps_back(self, head: Head, data: bytes) -> bool:
        """Whether the engine refused the API's version and says which one it has: that is asked for from now on.

        No question is asked for this beforehand: nearly every engine has the version, and each question costs time.
        """
        found = re.search(TOO_NEW, data.decode(errors="replace")) if head.status == 400 else None
        if found is None or self._version != VERSION:
            return False
        self._version = f"v{found[1]}"
        return True

    def json(self, method: str, path: str, query: Mapping[str, object] | None = None, document: Any = None) -> Any:
        """Make a request and return the response's JSON; None for an empty body."""
        _, data = self.request(method, path, query, document)
        return json.loads(data) if data.strip() else None

    def stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        document: Any = None,
        *,
        body: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        hijack: bool = False,
        descriptors: Sequence[int] = (),
    ) -> ResponseStream:
        """Make a request and return its response as a stream; with `hijack` the connection becomes a raw stream.

        `descriptors` are sent along with the head of a request that has a `body`.
        """
        about, prepared, target = _prepare(path, query, document, headers)
        if hijack:
            about |= {"Connection": "Upgrade", "Upgrade": "tcp"}
        connection = self._connect()
        # the engine may respond with an error, and close the connection, before it has read the whole body
        with suppress(BrokenPipeError):
            self._send(connection, method, target, about, body if body is not None else prepared, descriptors)
        try:
            head, rest = self._head(connection)
        except OSError as error:
            connection.close()
            raise SkiffError(
                f"the engine at {self.endpoint} closed the connection", "try again; its log may say why"
            ) from error
        stream = ResponseStream(connection, head, rest)
        if head.status >= 400:
            with stream:
                data = b"".join(stream.chunks())
            if body is None and self._steps_back(head, data):
                return self.stream(method, path, query, document, headers=headers, hijack=hijack)
            _raise_for(head, data)
        return stream

    # --- the engine

    def version(self) -> dict[str, Any]:
        """Get version."""
        return dict(self.json("GET", "/version"))

    def info(self) -> dict[str, Any]:
        """Get system information."""
        return dict(self.json("GET", "/info"))

    def engine(self) -> dict[str, Any]:
        """Return the processes and paths of our engine."""
        return dict(self.json("GET", "/skiff/v1/engine"))

    def stop_engine(self, *, force: bool = False, shutdown: bool = False) -> None:
        """Stop our engine; with `force`, kill all containers first; with `shutdown`, stop them as at a shutdown."""
        self.json("POST", "/skiff/v1/engine/stop", {"force": int(force), "shutdown": int(shutdown)})

    def check_engine(self, *, repair: bool) -> dict[str, Any]:
        """Compare the disk, our engine, its keeper and the kernel; with `repair`, repair the differences."""
        return dict(self.json("POST" if repair else "GET", "/skiff/v1/engine/check"))

    def ports_check(self, bindings: Sequence[Mapping[str, str]]) -> None:
        """Raise ConflictError if a host port is not available; other engines have no such endpoint and are skipped."""
        if self.endpoint.is_ours and bindings:
            self.json("POST", "/skiff/v1/ports/check", document={"bindings": list(bindings)})

    def events(self, filters: Mapping[str, Sequence[str]], **query: Any) -> ResponseStream:
        """Monitor events."""
        return self.stream("GET", "/events", {"filters": json.dumps(filters), **query})

    # --- containers

    def containers(
        self, *, all: bool = False, filters: Mapping[str, Sequence[str]] | None = None
    ) -> list[dict[str, Any]]:
        """List containers."""
        return list(self.json("GET", "/containers/json", {"all": int(all), "filters": json.dumps(filters or {})}))

    def container(self, name: str) -> dict[str, Any]:
        """Inspect a container."""
        return dict(self.json("GET", f"/containers/{quote(name)}/json"))

    def create_container(
        self, body: CreateBody, *, name: str | None = None, platform: str | None = None
    ) -> dict[str, Any]:
        """Create a container. Raises NotFoundError if its image is for another `platform` (OS/ARCHITECTURE)."""
        query = {"name": name or None, "platform": platform or None}
        return dict(self.json("POST", "/containers/create", query, body))

    def start(self, name: str) -> None:
        """Start a container."""
        self.json("POST", f"/containers/{quote(name)}/start")

    def stop(self, name: str, timeout_s: float | None = None) -> str:
        """Stop a container; return the name of the stop signal if our engine says that the kernel dropped it, else ""."""
        query = {} if timeout_s is None else {"t": timeout_s}
        head, _ = self.request("POST", f"/containers/{quote(name)}/stop", query)
        return head.headers.get("skiff-dropped-signal", "")

    def restart(self, name: str, timeout_s: int | None = None) -> None:
        """Restart a container."""
        self.json("POST", f"/containers/{quote(name)}/restart", {} if timeout_s is None else {"t": timeout_s})

    def kill(self, name: str, signal: str = "SIGKILL") -> None:
        """Send a signal to a container."""
        self.json("POST", f"/containers/{quote(name)}/kill", {"signal": signal})

    def pause(self, name: str) -> None:
        """Pause a container."""
        self.json("POST", f"/containers/{quote(name)}/pause")

    def unpause(self, name: str) -> None:
        """Unpause a container."""
        self.json("POST", f"/containers/{quote(name)}/unpause")

    def rename(self, name: str, wanted: str) -> None:
        """Rename a container."""
        self.json("POST", f"/containers/{quote(name)}/rename", {"name": wanted})

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container."""
        self.json("DELETE", f"/containers/{quote(name)}", {"force": int(force), "v": int(volumes)})

    def wait(self, name: str, condition: str = "not-running") -> int:
        """Wait for a container; return its exit code."""
        return int(self.json("POST", f"/containers/{quote(name)}/wait", {"condition": condition})["StatusCode"])

    def logs(self, name: str, **query: Any) -> ResponseStream:
        """Get container logs; `query` has the API's parameters (follow, since, until, timestamps, tail)."""
        return self.stream("GET", f"/containers/{quote(name)}/logs", {"stdout": 1, "stderr": 1, "pieces": 1, **query})

    def attach(self, name: str, **query: Any) -> ResponseStream:
        """Attach to a container; the stream's socket is a raw stream in both directions."""
        return self.stream("POST", f"/containers/{quote(name)}/attach", {"stream": 1, **query}, hijack=True)

    def resize(self, name: str, height: int, width: int) -> None:
        """Resize a container's terminal."""
        self.json("POST", f"/containers/{quote(name)}/resize", {"h": height, "w": width})

    def top(self, name: str) -> dict[str, Any]:
        """List the processes of a container."""
        return dict(self.json("GET", f"/containers/{quote(name)}/top"))

    def stats(self, name: str) -> dict[str, Any]:
        """Get one sample of container stats."""
        with self.stream("GET", f"/containers/{quote(name)}/stats", {"stream": 0}) as stream:
            return next(stream.documents(stream.whole()))

    def commit(self, name: str, **query: Any) -> str:
        """Create an image from a container (`query` has the API's parameters); return the image's ID."""
        return str(self.json("POST", "/commit", {"container": name, **query}, {})["Id"])

    def export(self, name: str) -> Iterator[bytes]:
        """Yield a tar stream of a container's root filesystem."""
        return self.stream("GET", f"/containers/{quote(name)}/export").whole()

    def exec_create(self, name: str, body: ExecConfig) -> str:
        """Create an exec instance; return its ID."""
        return str(self.json("POST", f"/containers/{quote(name)}/exec", document=body)["Id"])

    def exec_start(self, id: str, *, tty: bool = False) -> ResponseStream:
        """Start an exec instance; the stream's socket is a raw stream in both directions."""
        return self.stream("POST", f"/exec/{id}/start", document={"Detach": False, "Tty": tty}, hijack=True)

    def exec_detached(self, id: str) -> None:
        """Start an exec instance without attaching to it."""
        self.request("POST", f"/exec/{id}/start", document={"Detach": True})

    def exec_inspect(self, id: str) -> dict[str, Any]:
        """Inspect an exec instance."""
        return dict(self.json("GET", f"/exec/{id}/json"))

    def exec_resize(self, id: str, height: int, width: int) -> None:
        """Resize the terminal of an exec instance."""
        self.json("POST", f"/exec/{id}/resize", {"h": height, "w": width})

    # --- images

    def images(self, filters: Mapping[str, Sequence[str]] | None = None) -> list[dict[str, Any]]:
        """List images."""
        return list(self.json("GET", "/images/json", {"filters": json.dumps(filters or {})}))

    def image(self, name: str) -> dict[str, Any]:
        """Inspect an image."""
        return dict(self.json("GET", f"/images/{quote(name, safe='/:@')}/json"))

    def pull(self, name: str, platform: str | None = None) -> Iterator[dict[str, Any]]:
        """Pull an image, for `platform` if given; yields progress. Raises SkiffError if the pull fails."""
        from runtime.client.credentials import registry_auth

        auth = registry_auth(name)
        headers = {"X-Registry-Auth": auth} if auth else None
        # for the API, a name without a tag means all tags of the repository
        is_whole = "@" in name or ":" in name.rpartition("/")[2]
        query = {"fromImage": name if is_whole else f"{name}:latest", "platform": platform}
        return _checked(self.stream("POST", "/images/create", query, headers=headers))

    def push(self, name: str) -> Iterator[dict[str, Any]]:
        """Push an image; yields progress."""
        from runtime.client.credentials import registry_auth

        headers = {"X-Registry-Auth": registry_auth(name) or "e30="}
        return _checked(self.stream("POST", f"/images/{quote(name, safe='/:@')}/push", headers=headers))

    def bootstrap(self, name: str) -> Iterator[dict[str, Any]]:
        """Create a Debian base image; yields progress."""
        return _checked(self.stream("POST", "/skiff/v1/images/bootstrap", {"reference": name}))

    def load(self, body: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        """Load images from an archive; yields progress."""
        return _checked(self.stream("POST", "/images/load", body=body, headers={"Content-Type": "application/x-tar"}))

    def save(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield an archive of images."""
        return self.stream("GET", "/images/get", {"names": list(names)}).whole()

    def build(self, body: Iterable[bytes], query: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """Build an image from the tar stream of a context, with the user's registry credentials; yields messages."""
        yield from self._build("/build", body, query)

    def build_here(
        self, directories: Mapping[str, int], body: Iterable[bytes], query: Mapping[str, object]
    ) -> Iterator[dict[str, Any]]:
        """Build our own descriptors of directories, of which "" is the context, as `build` does.

        `body` is a tar stream of what goes along. Raises EngineError (404, 501) if the engine can't.
        """
        named = {**query, "directories": list(directories)}
        yield from self._build("/skiff/v1/build", body, named, list(directories.values()))

    def _build(
        self, path: str, body: Iterable[bytes], query: Mapping[str, object], descriptors: Sequence[int] = ()
    ) -> Iterator[dict[str, Any]]:
        from runtime.client.credentials import registry_config

        config, problems = registry_config()
        for problem in problems:
            yield {"stream": f"[Warning] {problem}\n"}
        headers = {"Content-Type": "application/x-tar", **({"X-Registry-Config": config} if config else {})}
        yield from _checked(self.stream("POST", path, query, body=body, headers=headers, descriptors=descriptors))

    def tag(self, name: str, repository: str, tag: str) -> None:
        """Tag an image."""
        self.request("POST", f"/images/{quote(name, safe='/:@')}/tag", {"repo": repository, "tag": tag})

    def remove_image(self, name: str, *, force: bool = False) -> list[dict[str, str]]:
        """Remove an image."""
        return list(self.json("DELETE", f"/images/{quote(name, safe='/:@')}", {"force": int(force)}))

    def history(self, name: str) -> list[dict[str, Any]]:
        """Get the history of an image, newest step first."""
        return list(self.json("GET", f"/images/{quote(name, safe='/:@')}/history"))

    # --- networks and volumes

    def network(self, name: str) -> dict[str, Any]:
        """Inspect a network."""
        return dict(self.json("GET", f"/networks/{quote(name)}"))

    def volume(self, name: str) -> dict[str, Any]:
        """Inspect a volume."""
        return dict(self.json("GET", f"/volumes/{quote(name)}"))

    def networks(self, filters: Mapping[str, Sequence[str]] | None = None) -> list[dict[str, Any]]:
        """List networks."""
        return list(self.json("GET", "/networks", {"filters": json.dumps(filters or {})}))

    def create_network(self, body: NetworkBody) -> dict[str, Any]:
        """Create a network."""
        return dict(self.json("POST", "/networks/create", document=body))

    def connect_network(self, name: str, container: str, settings: EndpointBody) -> None:
        """Connect a container to a network."""
        body = {"Container": container, "EndpointConfig": settings}
        self.json("POST", f"/networks/{quote(name)}/connect", document=body)

    def disconnect_network(self, name: str, container: str) -> None:
        """Disconnect a container from a network."""
        self.json("POST", f"/networks/{quote(name)}/disconnect", document={"Container": container, "Force": True})

    def remove_network(self, name: str) -> None:
        """Remove a network."""
        self.json("DELETE", f"/networks/{quote(name)}")

    def volumes(self, filters: Mapping[str, Sequence[str]] | None = None) -> list[dict[str, Any]]:
        """List volumes."""
        return list(self.json("GET", "/volumes", {"filters": json.dumps(filters or {})})["Volumes"] or ())

    def create_volume(self, body: VolumeBody) -> dict[str, Any]:
        """Create a volume."""
        return dict(self.json("POST", "/volumes/create", document=body))

    def remove_volume(self, name: str, *, force: bool = False) -> None:
        """Remove a volume; with `force`, a missing one is not an error."""
        self.json("DELETE", f"/volumes/{quote(name)}", {"force": int(force)})

    def prune(self, kind: str, filters: Mapping[str, Sequence[str]], **query: Any) -> dict[str, Any]:
        """Delete unused objects of `kind`: "containers", "images", "networks", "volumes" or "build"."""
        return dict(self.json("POST", f"/{kind}/prune", {"filters": json.dumps(filters), **query}))

    def data_usage(self) -> dict[str, Any]:
        """Get data usage information."""
        return dict(self.json("GET", "/system/df"))

    def archive_get(self, name: str, path: str) -> Iterator[bytes]:
        """Yield a tar stream of a path in a container."""
        return self.stream("GET", f"/containers/{quote(name)}/archive", {"path": path}).whole()

    def archive_stat(self, name: str, path: str) -> PathStat | None:
        """Return what is at a path in a container; None for what is not there, or below what is no directory."""
        try:
            head, _ = self.request("HEAD", f"/containers/{quote(name)}/archive", {"path": path})
        except EngineError:
            return None
        about = json.loads(base64.b64decode(head.headers["x-docker-container-path-stat"]))
        return PathStat(bool(about["mode"] & GO_DIRECTORY), about["linkTarget"])

    def remove_files(self, name: str, paths: Sequence[str]) -> bool:
        """Remove files of a container, also of one that does not run; other engines can't: then False is returned."""
        if self.endpoint.is_ours:
            self.json("POST", f"/skiff/v1/containers/{quote(name)}/files/remove", document={"paths": list(paths)})
        return self.endpoint.is_ours

    def archive_put(self, name: str, path: str, body: Iterable[bytes], **query: Any) -> None:
        """Extract a tar stream into a directory of a container (`query` has the API's parameters)."""
        with self.stream("PUT", f"/containers/{quote(name)}/archive", {"path": path, **query}, body=body) as stream:
            for _ in stream.whole():
                pass


def _prepare(
    path: str, query: Mapping[str, object] | None, document: Any, headers: Mapping[str, str] | None
) -> tuple[dict[str, str], bytes | None, str]:
    about = dict(headers or {})
    body = None
    if document is not None:
        body = json.dumps(document).encode()
        about["Content-Type"] = "application/json"
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return about, body, f"{path}?{urlencode(given, doseq=True)}" if given else path


def _raise_for(head: Head, data: bytes) -> None:
    if head.status < 400:
        return
    try:
        document = json.loads(data)
        message = document["message"]
    except (ValueError, KeyError, TypeError):
        message, document = data.decode(errors="replace").strip() or f"the engine answered {head.status}", {}
    raise EngineError.from_status(head.status, *_with_hint(message, document))


def _with_hint(message: object, document: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return an error's message and its hint: a member of `document`, or the message's own indented line."""
    text, _, hint = str(message).partition("\n    ")
    return text, document.get("hint") or hint or None


def _checked(stream: ResponseStream) -> Iterator[dict[str, Any]]:
    """Yield a stream's progress. Raises SkiffError if it contains an error."""
    with stream:
        for document in stream.documents(stream.whole()):
            if document.get("error"):
                raise SkiffError(*_with_hint(document["error"], document.get("errorDetail") or {}))
            yield document
