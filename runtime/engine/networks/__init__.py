"""Networks as the Docker Engine API knows them, over `runtime.network`."""
