"""The engine's state: JSON documents in SQLite, changed in transactions."""

from runtime.store.store import Collection, Store

__all__ = ["Collection", "Store"]
