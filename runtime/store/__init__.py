"""The engine's state: a record beside each object on disk, and what is known of them in memory."""

from runtime.store.collection import Collection
from runtime.store.journal import Journal
from runtime.store.problems import Problem
from runtime.store.store import Store

__all__ = ["Collection", "Journal", "Problem", "Store"]
