"""Images as the Docker Engine API knows them, over `runtime.image` and `runtime.build`."""
