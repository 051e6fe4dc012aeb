"""Low-level definitions (LLB): graphs of operations whose results are file systems.

Clients pass on results of builds as such: bake's `target:` contexts; ours have one operation, whose source is an image of
the store. What is done for others is in `operations`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from runtime.buildkit.rpc import INVALID_ARGUMENT, UNIMPLEMENTED, RpcError
from runtime.buildkit.schema import message

SCHEME = "skiff-image://"
INPUT = "input:"
"""How a named context begins that is a result of another build."""
KINDS = ("exec", "source", "file", "build", "merge", "diff")
"""The members of pb.Op, one of which is set."""


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


def is_definition(definition: Any) -> bool:
    """Whether there is anything in a pb.Definition."""
    return bool(getattr(definition, "def"))  # a word of Python's


@dataclass(frozen=True)
class Graph:
    """The operations of a definition by their digests, and the digest of the one whose result is wanted."""

    operations: dict[str, Any]
    wanted: str

    @classmethod
    def of(cls, definition: Any) -> Graph:
        """Return the graph of a pb.Definition. Raises RpcError where an operation is missing, or is not of a kind known."""
        from google.protobuf.message import DecodeError

        operations, last = {}, None
        for raw in getattr(definition, "def"):
            try:
                last = message("pb.Op").FromString(raw)
            except DecodeError as error:
                raise RpcError(INVALID_ARGUMENT, "the definition has an operation that can't be read") from error
            operations[f"sha256:{hashlib.sha256(raw).hexdigest()}"] = last
        if last is None or len(last.inputs) != 1:
            raise RpcError(INVALID_ARGUMENT, "the definition does not say which result is wanted")
        graph = cls(operations, last.inputs[0].digest)
        for one in operations.values():
            for each in one.inputs:
                if each.digest not in operations:
                    raise RpcError(INVALID_ARGUMENT, f"the definition has no operation {each.digest}")
        if last.inputs[0].index:
            raise unserved("a result besides the first of an operation")
        return graph

    @property
    def image_id(self) -> str | None:
        """The ID of the image of the store that the result is as it is, None where there is something to do."""
        wanted = self.operations[self.wanted]
        is_ours = wanted.HasField("source") and wanted.source.identifier.startswith(SCHEME)
        return str(wanted.source.identifier.removeprefix(SCHEME)) if is_ours else None


def kind_of(operation: Any) -> str:
    """Return the kind of a pb.Op. Raises RpcError for one that is not known."""
    for kind in KINDS:
        if operation.HasField(kind):
            return kind
    raise unserved("an operation of an unknown kind")


def unserved(what: str) -> RpcError:
    """Return the error for what this engine does not run."""
    return RpcError(UNIMPLEMENTED, f"low-level build definition (LLB): {what} is not run by this engine")
