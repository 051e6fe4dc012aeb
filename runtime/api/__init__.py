"""The Docker Engine API over a socket."""

from runtime.api.server import serve

__all__ = ["serve"]
