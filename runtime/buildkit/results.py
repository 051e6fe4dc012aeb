"""Results of builds as inputs of others: bake's `target:` contexts.

A client passes a result on as a low-level definition (LLB). Ours has one operation, whose source is an image of the store.
"""

from __future__ import annotations

import hashlib
from typing import Any

from runtime.buildkit.rpc import UNIMPLEMENTED, RpcError
from runtime.buildkit.schema import message

SCHEME = "skiff-image://"
INPUT = "input:"
"""How a named context begins that is a result of another build."""


def definition_of(image_id: str) -> Any:
    """Return the pb.Definition that means the image `image_id`."""
    operation = message("pb.Op")()
    operation.source.identifier = f"{SCHEME}{image_id}"
    raw = operation.SerializeToString(deterministic=True)
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    last = message("pb.Op")()
    last.inputs.add(digest=digest)
    definition = message("pb.Definition")()
    getattr(definition, "def").extend([raw, last.SerializeToString(deterministic=True)])
    # a definition without any counts as none
    definition.metadata[digest].ignore_cache = False
    return definition


def image_of(definition: Any) -> str:
    """Return the ID of the image that a definition means. Raises RpcError for one that is not ours."""
    for raw in getattr(definition, "def"):
        operation = message("pb.Op").FromString(raw)
        if operation.HasField("source") and operation.source.identifier.startswith(SCHEME):
            return str(operation.source.identifier.removeprefix(SCHEME))
    raise RpcError(
        UNIMPLEMENTED, "an input that is no result of this engine's builds is not run: name an image instead"
    )
