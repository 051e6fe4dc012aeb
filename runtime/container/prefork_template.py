"""What most containers have in common, so that the keeper's preforked children can set it up in advance."""

from __future__ import annotations

from runtime.container.spec import ContainerPaths, build
from runtime.oci.types import OciPreforkTemplate


def prefork_template() -> OciPreforkTemplate:
    """Return {"mounts", "maskedPaths", "readonlyPaths", "devices"} of a container with default settings.

    The root and /dev/shm are not included: the former differs always, the latter in size and owner.
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
