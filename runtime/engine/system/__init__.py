"""The machine and the engine itself: info, version, limits, disk usage."""
