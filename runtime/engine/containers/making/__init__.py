"""Creating containers: checks of the request, defaults, names, root filesystem and mounts."""
