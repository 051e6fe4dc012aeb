"""Where the engine is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.errors import SkiffError
from runtime.paths import Paths

TCP_PORT = 2375


@dataclass(frozen=True)
class Endpoint:
    """A unix socket's path, or a host and port; `is_ours` when it is this user's own engine, started on demand."""

    path: str | None = None
    host: str = ""
    port: int = 0
    is_ours: bool = False

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


def endpoint(environ: Mapping[str, str], host: str | None) -> Endpoint:
    """Return the endpoint of -H, else of $DOCKER_HOST, else of $DOCKER_CONTEXT, else our own engine's.

    Raises SkiffError on another scheme, and for a context that is not there.
    """
    text = host or environ.get("DOCKER_HOST") or ""
    if not text and environ.get("DOCKER_CONTEXT"):
        from runtime.client.contexts import context_host

        text = context_host(environ)
    if not text:
        return Endpoint(path=str(Paths.from_environment(environ, os.getuid()).engine_socket), is_ours=True)
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "unix":
        return Endpoint(path=rest)
    if separator and scheme in ("tcp", "http"):
        name, _, port = rest.rstrip("/").rpartition(":")
        return Endpoint(host=name or rest, port=int(port) if name else TCP_PORT)
    raise SkiffError(f"unable to parse docker host {text!r}", "write unix:///path/to/socket or tcp://host:port")
