"""Images of the Docker Engine API, implemented with `runtime.image` and `runtime.build`."""
