"""Volumes of the Docker Engine API, implemented with `runtime.volume`."""
