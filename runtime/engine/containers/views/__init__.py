"""Views of containers: list, inspect, sizes, usage, changes, files."""
