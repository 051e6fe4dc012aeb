"""The Docker Engine API from a client's side; over a unix socket or TCP, to our engine or any other."""

from runtime.client.blocking import Client
from runtime.client.endpoint import Endpoint, endpoint
from runtime.client.start import ensure_engine
from runtime.errors import SkiffError

__all__ = ["Client", "Endpoint", "SkiffError", "endpoint", "ensure_engine"]
