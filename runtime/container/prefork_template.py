"""What most containers have, for the keeper to make before it is known for which."""

from __future__ import annotations

from typing import Any

from runtime.container.spec import ContainerPaths, build


def prefork_template() -> dict[str, Any]:
    """Return, of the OCI document of a container with nothing but defaults, what can be made ahead.

    That is {"mounts", "maskedPaths", "readonlyPaths", "devices"}, without the root and /dev/shm, whose size and owner
    are each container's own.
    """
    place = ContainerPaths(id="", engine_id="", layers=(), upper=None, work=None, rootfs=None, mounts=(), files={})
    document = build({"Cmd": ["true"]}, {}, place)
    settings = document["linux"]
    return {
        "mounts": [mount for mount in document["mounts"] if mount["destination"] != "/dev/shm"],
        "maskedPaths": settings["maskedPaths"],
        "readonlyPaths": settings["readonlyPaths"],
        "devices": settings["resources"].get("devices") or [],
    }
