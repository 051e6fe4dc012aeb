"""Skiff's version: that of the last git tag, as the build wrote it down (pyproject.toml, `tool.hatch`)."""

from __future__ import annotations

from importlib import import_module

UNKNOWN = "0+unknown"
"""The version of a tree that was never installed (PEP 440, "Local version identifiers")."""


def version() -> str:
    """Return the version."""
    try:
        # by its name: the file is not there for type checkers before the first build
        return str(import_module("runtime._version").VERSION)
    except ImportError:
        return UNKNOWN
