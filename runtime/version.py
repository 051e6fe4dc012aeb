"""Skiff's version, from the last git tag; written to _version.py by the build (pyproject.toml, `tool.hatch`)."""

from __future__ import annotations

from importlib import import_module

UNKNOWN = "0+unknown"
"""The version of a source tree that was never installed (PEP 440, "Local version identifiers")."""


def version() -> str:
    """Return the version."""
    try:
        # imported by name: before the first build, type checkers don't find the file
        return str(import_module("runtime._version").VERSION)
    except ImportError:
        return UNKNOWN
