"""The engine's stored state: a record next to each object on disk, and collections of them in memory (see STATE.md)."""

from runtime.store.collection import Collection
from runtime.store.journal import Journal
from runtime.store.problems import Problem
from runtime.store.store import Store

__all__ = ["Collection", "Journal", "Problem", "Store"]
