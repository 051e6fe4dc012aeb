"""The address of an engine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.errors import SkiffError
from runtime.paths import Paths

TCP_PORT = 2375


@dataclass(frozen=True)
class EngineAddress:
    """A unix socket's path, or a host and port; `is_ours` if it is this user's own engine, started on demand."""

    path: str | None = None
    host: str = ""
    port: int = 0
    is_ours: bool = False

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


def endpoint(environ: Mapping[str, str], host: str | None) -> EngineAddress:
    """Return the address of `host` (-H), else $DOCKER_HOST, else $DOCKER_CONTEXT, else of our own engine.

    Raises SkiffError for an unsupported scheme or a missing context.
    """
    text = host or environ.get("DOCKER_HOST") or ""
    if not text and environ.get("DOCKER_CONTEXT"):
        from runtime.client.contexts import context_host

        text = context_host(environ)
    ours = str(Paths.from_environment(environ, os.getuid()).engine_socket)
    if not text:
        return EngineAddress(path=ours, is_ours=True)
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "unix":
        # users set $DOCKER_HOST to our socket for the docker CLI
        return EngineAddress(path=rest, is_ours=rest == ours)
    if separator and scheme in ("tcp", "http"):
        name, _, port = rest.rstrip("/").rpartition(":")
        return EngineAddress(host=name or rest, port=int(port) if name else TCP_PORT)
    raise SkiffError(f"unable to parse docker host {text!r}", "write unix:///path/to/socket or tcp://host:port")
