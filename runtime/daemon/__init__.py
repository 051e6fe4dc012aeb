"""The engine's program: an engine and the server of its API."""
