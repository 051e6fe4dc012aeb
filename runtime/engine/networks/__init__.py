"""Networks of the Docker Engine API, implemented with `runtime.network`."""
