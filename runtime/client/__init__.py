"""A client of the Docker Engine API, over a unix socket or TCP, for our engine or any other."""

from runtime.client.blocking import Client, PathStat
from runtime.client.endpoint import EngineAddress, endpoint
from runtime.client.start import ensure_engine
from runtime.errors import SkiffError

__all__ = ["Client", "EngineAddress", "PathStat", "SkiffError", "endpoint", "ensure_engine"]
