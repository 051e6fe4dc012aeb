"""Routes for OCI artifacts in registries, an extension of Docker's API; bytes are base64 in JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio.to_thread

from runtime import bodies
from runtime.api.images import credentials
from runtime.api.request import Request
from runtime.errors import BadRequestError
from runtime.image.transfers import load_registry_client

if TYPE_CHECKING:
    from runtime.engine.engine import Engine


LARGEST_BYTES = 32 << 20
"""Limit of a request body with an artifact: `images.artifacts.LARGEST_BYTES` in base64, with some room."""


def _blobs(document: Mapping[str, str]) -> dict[str, bytes]:
    return {digest: _bytes(data) for digest, data in document.items()}


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadRequestError(f"not base64: {error}") from error


async def push(engine: Engine, request: Request) -> None:
    """Push an artifact."""
    await load_registry_client()
    from runtime.engine.images.artifacts import push_artifact

    document = await request.json(bodies.Artifact, is_optional=False, most_bytes=LARGEST_BYTES)
    blobs = await anyio.to_thread.run_sync(_blobs, document.get("blobs") or {})
    digest = await push_artifact(
        request.text("reference") or "",
        _bytes(document.get("manifest") or ""),
        document.get("mediaType") or "",
        blobs,
        credentials(request),
    )
    await request.answer(200, {"digest": digest})


async def fetch(engine: Engine, request: Request) -> None:
    """Fetch an artifact."""
    await load_registry_client()
    from runtime.engine.images.artifacts import fetch_artifact

    raw, digest, blobs = await fetch_artifact(request.text("reference") or "", credentials(request))
    encoded = {key: base64.b64encode(data).decode() for key, data in blobs.items()}
    await request.answer(200, {"digest": digest, "manifest": base64.b64encode(raw).decode(), "blobs": encoded})
