"""Seccomp filters: the OCI document's rules assembled to classic BPF (seccomp(2), kernel seccomp_filter.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def assemble(filters: Mapping[str, Any]) -> bytes | None:
    return None


def install(program: bytes) -> None:
    pass
