"""The OCI documents are written twice, as types and as data: what is read of one is read of the other."""

from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from runtime.oci import types
from runtime.oci.program.shape import DOCUMENT, SECCOMP

OURS = {types.OciMount: {"mount", "namespace", "subpath"}}
"""What only the engine says to its keeper."""


def differences(kind, shape, path):
    """Yield the places where a type and a shape do not say the same."""
    if kind is Any:
        return
    if is_typeddict(kind):
        hints = {name: hint for name, hint in get_type_hints(kind).items() if name not in OURS.get(kind, ())}
        if not isinstance(shape, dict) or hints.keys() != shape.keys():
            yield path, sorted(hints), shape
            return
        for name, hint in hints.items():
            yield from differences(hint, shape[name], f"{path}.{name}")
    elif get_origin(kind) is list:
        if not isinstance(shape, tuple):
            yield path, kind, shape
            return
        yield from differences(get_args(kind)[0], shape[0], f"{path}[]")
    elif get_origin(kind) is dict:
        if not isinstance(shape, dict):
            yield path, kind, shape
            return
        for name, inner in shape.items():
            yield from differences(get_args(kind)[1], inner, f"{path}.{name}")
    elif isinstance(kind, type) and kind is not shape:
        yield path, kind, shape


@pytest.mark.parametrize(("kind", "shape"), [(types.OciSpec, DOCUMENT), (types.OciSeccomp, SECCOMP)])
def test_types_and_shapes_say_the_same(kind, shape):
    assert list(differences(kind, shape, "")) == []
