"""A project as an OCI artifact: its files as layers under a manifest (docker compose, "OCI artifact applications"). Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from compose.plan.project import COMPOSE_VERSION, LABEL
from runtime.errors import SkiffError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT = "application/vnd.docker.compose.project"
COMPOSE_FILE = "application/vnd.docker.compose.file+yaml"
ENV_FILE = "application/vnd.docker.compose.envfile"
EMPTY, EMPTY_OF_1_0 = "application/vnd.oci.empty.v1+json", "application/vnd.docker.compose.config.empty.v1+json"
VERSIONS = ("1.0", "1.1")
FILE, ENV, EXTENDS, VERSION = f"{LABEL}file", f"{LABEL}envfile", f"{LABEL}extends", f"{LABEL}version"


class Layer(NamedTuple):
    """A file of the artifact; `is_extended` says that other files name it, and that it is no part of the project."""

    name: str
    content: bytes
    media_type: str = COMPOSE_FILE
    is_extended: bool = False

    @property
    def digest(self) -> str:
        """The digest of the content."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def descriptor(self) -> dict[str, Any]:
        """Return its descriptor."""
        name = {ENV if self.media_type == ENV_FILE else FILE: self.name}
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.content),
            "annotations": {VERSION: COMPOSE_VERSION, **name, **({EXTENDS: "true"} if self.is_extended else {})},
        }


def manifest(layers: Sequence[Layer], version: str, created: str) -> tuple[bytes, dict[str, bytes]]:
    """Return the manifest of `layers` by a `version` of the OCI image specification, and all blobs by digest."""
    config = Layer("", b"{}")
    is_1_1 = version == "1.1"
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        # version 1.0 has no `artifactType`: the media type of the configuration takes its place
        **({"artifactType": ARTIFACT} if is_1_1 else {}),
        "config": {
            "mediaType": EMPTY if is_1_1 else EMPTY_OF_1_0,
            "digest": config.digest,
            "size": len(config.content),
            "data": base64.b64encode(config.content).decode(),
        },
        "layers": [layer.descriptor() for layer in layers],
        "annotations": {"org.opencontainers.image.created": created},
    }
    return json.dumps(document).encode(), {each.digest: each.content for each in (config, *layers)}


def files_of(name: str, raw: bytes, blobs: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of the artifact `name` by name: compose.yaml is the project. Raises SkiffError when it is none."""
    document = json.loads(raw)
    kind = document.get("artifactType") or (document.get("config") or {}).get("mediaType")
    if kind not in (ARTIFACT, EMPTY_OF_1_0):
        raise SkiffError(f"{name} is not a compose project OCI artifact, but {kind}", "`skiff publish` makes them")
    found: dict[str, bytes] = {}
    project: list[bytes] = []
    for layer in document["layers"]:
        about = layer.get("annotations") or {}
        content = blobs[layer["digest"]]
        # the name comes from the registry: it must not lead out of the folder
        file = os.path.basename(str(about.get(ENV) or about.get(FILE) or ""))
        if layer.get("mediaType") == ENV_FILE or about.get(EXTENDS) == "true":
            if file not in ("", ".", ".."):
                found[file] = content
        elif layer.get("mediaType") == COMPOSE_FILE:
            project.append(content)
    if not project:
        raise SkiffError(f"{name} has no Compose file", "publish it again")
    return {**found, "compose.yaml": b"\n---\n".join(project)}
