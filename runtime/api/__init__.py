"""The server of the Docker Engine API."""

from runtime.api.server import serve

__all__ = ["serve"]
