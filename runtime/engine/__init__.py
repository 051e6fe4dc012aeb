"""The engine: containers, networks, volumes and images as in the Docker Engine API, over the store."""
