"""`spec`: writes a template of config.json."""

from __future__ import annotations

import json
import os

from runtime.hints import TYPE_CHECKING
from runtime.oci import defaults
from runtime.oci.program.document import NAME, NEWEST
from runtime.oci.program.errors import ProgramError

if TYPE_CHECKING:
    from runtime.oci.types import OciLinux, OciSpec

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
SHM_BYTES = 1 << 26


def write(bundle: str, name: str = NAME, *, rootless: bool) -> None:
    """Write the file `name` into the directory `bundle`. Raises ProgramError if it exists."""
    path = os.path.join(bundle, name)
    text = json.dumps(template(os.geteuid(), os.getegid()) if rootless else template(), indent="\t")
    try:
        with open(path, "x") as file:
            file.write(text + "\n")
    except FileExistsError as error:
        raise ProgramError(f"{path} exists", "remove it first") from error
    except OSError as error:
        raise ProgramError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def template(uid: int | None = None, gid: int | None = None) -> OciSpec:
    """Return a document for a shell in `rootfs`; with `uid` and `gid`, one that this user can run without root."""
    mounts = defaults.mounts(SHM_BYTES)
    namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    linux: OciLinux = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "maskedPaths": list(defaults.MASKED_PATHS),
        "readonlyPaths": list(defaults.READ_ONLY_PATHS),
    }
    if uid is not None and gid is not None:
        # in the user namespace GID 5 is not mapped; without a network namespace sysfs can't be mounted
        for mount in mounts:
            mount["options"] = [option for option in mount["options"] if option != "gid=5"]
            if mount["destination"] == "/sys":
                mount["type"], mount["source"] = "none", "/sys"
                mount["options"] = ["rbind", "nosuid", "noexec", "nodev", "ro"]
        namespaces = [kind for kind in namespaces if kind != "network"] + ["user"]
        linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
        del linux["resources"]
    else:
        mounts.append(
            {
                "destination": "/sys/fs/cgroup",
                "type": "cgroup",
                "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
            }
        )
    linux["namespaces"] = [{"type": kind} for kind in namespaces]
    return {
        "ociVersion": NEWEST,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "skiff",
        "mounts": mounts,
        "linux": linux,
    }
