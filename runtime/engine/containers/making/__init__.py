"""From a create request to a container: checked, completed, named, with its root and mounts."""
