"""`features`: the features of this runtime (OCI runtime spec, features.md)."""

from __future__ import annotations

from runtime.hints import Any
from runtime.linux import capability, seccomp
from runtime.oci import mount_options
from runtime.oci.program import confinement, scheduling
from runtime.oci.program.document import NEWEST
from runtime.oci.program.namespaces import NAMESPACES
from runtime.oci.program.shape import HOOKS

OLDEST = "1.0.0"
OPERATORS = tuple(f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))


def features() -> dict[str, Any]:
    """Return the features document: what is implemented, whether or not this machine supports it."""
    return {
        "ociVersionMin": OLDEST,
        "ociVersionMax": NEWEST,
        "hooks": list(HOOKS),
        "mountOptions": sorted(mount_options.KNOWN),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(capability.NUMBERS),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": False,
                "systemdUser": False,
                "rdma": True,
            },
            "seccomp": {
                "enabled": True,
                "actions": sorted(seccomp.RET),
                "operators": sorted(OPERATORS),
                "archs": sorted(confinement.ARCHITECTURES),
                "knownFlags": sorted(confinement.FLAGS),
                "supportedFlags": sorted(confinement.FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "netDevices": {"enabled": True},
            "memoryPolicy": {"modes": list(scheduling.MEMORY_MODES), "flags": list(scheduling.MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "potentiallyUnsafeConfigAnnotations": ["skiff.init", "skiff.user"],
    }
