"""The engine itself and its machine: info, version, limits, disk usage, check."""
