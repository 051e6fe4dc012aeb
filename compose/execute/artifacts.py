"""Projects as artifacts in registries; our engine transfers them, as it does all traffic with registries."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from compose.plan.artifact import MANIFEST, VERSIONS, Layer, files_of, manifest
from runtime.client import Client
from runtime.client.credentials import registry_auth
from runtime.errors import EngineError, SkiffError

PATH = "/skiff/v1/artifacts"
NOT_OF_VERSION = (400, 404, 405, 406, 415, 422)
"""Status codes with which registries refuse an unknown type of manifest."""


def publish(client: Client, name: str, layers: Sequence[Layer], version: str) -> str:
    """Push `layers` as the artifact `name` and return its digest; `version` "": 1.1, or 1.0 where that is not taken.

    Raises SkiffError.
    """
    _check(client)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    refused: EngineError | None = None
    for each in [version] if version else reversed(VERSIONS):
        raw, blobs = manifest(layers, each, created)
        body = {
            "manifest": base64.b64encode(raw).decode(),
            "mediaType": MANIFEST,
            "blobs": {digest: base64.b64encode(data).decode() for digest, data in blobs.items()},
        }
        try:
            _, answer = client.request("POST", PATH, {"reference": name}, body, headers=_headers(name))
        except EngineError as error:
            if error.status not in NOT_OF_VERSION:
                raise
            refused = error
        else:
            return str(json.loads(answer)["digest"])
    assert refused is not None  # each version was tried
    raise refused


def fetch(client: Client, name: str, environ: Mapping[str, str]) -> str:
    """Return the path of the Compose file of the artifact `name`, fetched into the user's cache. Raises SkiffError."""
    _check(client)
    _, answer = client.request("GET", PATH, {"reference": name}, headers=_headers(name))
    document = json.loads(answer)
    blobs = {digest: base64.b64decode(data) for digest, data in document["blobs"].items()}
    files = files_of(name, base64.b64decode(document["manifest"]), blobs)
    cache = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or "/tmp", ".cache")
    # a project without a name is called after its folder
    app = name.partition("@")[0].rpartition("/")[2].partition(":")[0]
    folder = Path(cache, "skiff", "artifacts", document["digest"].partition(":")[2], app)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            part = folder / f".{file}.{os.getpid()}"
            part.write_bytes(content)
            part.replace(folder / file)
    except OSError as error:
        raise SkiffError(
            f"{error.filename}: {error.strerror}: {name} can't be kept", "choose another place with $XDG_CACHE_HOME"
        ) from error
    return str(folder / "compose.yaml")


def _check(client: Client) -> None:
    if not client.endpoint.is_ours:
        raise SkiffError(
            "only Skiff's own engine speaks to registries for artifacts", "leave -H and $DOCKER_HOST out for this"
        )


def _headers(name: str) -> dict[str, str] | None:
    auth = registry_auth(name)
    return {"X-Registry-Auth": auth} if auth else None
