"""The engine: lifecycles of containers, networks, volumes and images over the store."""
