"""The schema of the store, as the list of steps that lead to it: a step is never edited once it has shipped."""

from __future__ import annotations

KINDS = (
    "container",
    "network",
    "endpoint",
    "volume",
    "image",
    "tag",
    "layer",
    "build_cache",
    "exec",
    "setting",
)
"""What version 1 keeps, a table a kind."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    tuple(
        f"CREATE TABLE {kind} (id TEXT PRIMARY KEY, name TEXT UNIQUE, document TEXT NOT NULL) WITHOUT ROWID"
        for kind in KINDS
    ),
)
"""Statements that lead from version N to N + 1, at index N. The version stands in `PRAGMA user_version`."""
