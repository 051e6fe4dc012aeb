"""The types of the values in an OCI document, and the check of a parsed JSON document against them. Pure."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from runtime.hints import Any
from runtime.oci.program.errors import DocumentError

STRINGS = (str,)
ID_MAPPING = {"containerID": int, "hostID": int, "size": int}
DEVICE = {"major": int, "minor": int}
RATE = {**DEVICE, "rate": int}
CAPABILITIES = dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), STRINGS)
PROCESS = {
    "terminal": bool,
    "consoleSize": {"height": int, "width": int},
    "cwd": str,
    "env": STRINGS,
    "args": STRINGS,
    "user": {"uid": int, "gid": int, "umask": int, "additionalGids": (int,)},
    "capabilities": CAPABILITIES,
    "rlimits": ({"type": str, "soft": int, "hard": int},),
    "noNewPrivileges": bool,
    "oomScoreAdj": int,
    "apparmorProfile": str,
    "selinuxLabel": str,
    "scheduler": {
        "policy": str, "nice": int, "priority": int, "flags": STRINGS, "runtime": int, "deadline": int, "period": int,
    },
    "ioPriority": {"class": str, "priority": int},
    "execCPUAffinity": {"initial": str, "final": str},
}  # fmt: skip
MOUNT = {
    "destination": str,
    "type": str,
    "source": str,
    "options": STRINGS,
    "uidMappings": (ID_MAPPING,),
    "gidMappings": (ID_MAPPING,),
}
HOOKS = dict.fromkeys(
    ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"),
    ({"path": str, "args": STRINGS, "env": STRINGS, "timeout": int},),
)
RESOURCES = {
    "devices": ({"allow": bool, "type": str, **DEVICE, "access": str},),
    "memory": {
        **dict.fromkeys(("limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness"), int),
        **dict.fromkeys(("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"), bool),
    },
    "cpu": {
        **dict.fromkeys(("shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "idle"), int),
        "cpus": str,
        "mems": str,
    },
    "pids": {"limit": int},
    "blockIO": {
        "weight": int,
        "leafWeight": int,
        "weightDevice": ({**DEVICE, "weight": int, "leafWeight": int},),
        **dict.fromkeys(
            ("throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"),
            (RATE,),
        ),
    },
    "hugepageLimits": ({"pageSize": str, "limit": int},),
    "network": {"classID": int, "priorities": ({"name": str, "priority": int},)},
    "rdma": {"*": {"hcaHandles": int, "hcaObjects": int}},
    "unified": {"*": str},
}
SECCOMP = {
    "defaultAction": str,
    "defaultErrnoRet": int,
    "architectures": STRINGS,
    "flags": STRINGS,
    "listenerPath": str,
    "listenerMetadata": str,
    "syscalls": (
        {
            "names": STRINGS,
            "action": str,
            "errnoRet": int,
            "args": ({"index": int, "value": int, "valueTwo": int, "op": str},),
        },
    ),
}
DOCUMENT = {
    "ociVersion": str,
    "process": PROCESS,
    "root": {"path": str, "readonly": bool},
    "hostname": str,
    "domainname": str,
    "mounts": (MOUNT,),
    "hooks": HOOKS,
    "annotations": {"*": str},
    "linux": {
        "namespaces": ({"type": str, "path": str},),
        "uidMappings": (ID_MAPPING,),
        "gidMappings": (ID_MAPPING,),
        "timeOffsets": {"*": {"secs": int, "nanosecs": int}},
        "devices": ({"type": str, "path": str, **DEVICE, "fileMode": int, "uid": int, "gid": int},),
        "netDevices": {"*": {"name": str}},
        "cgroupsPath": str,
        "resources": RESOURCES,
        "rootfsPropagation": str,
        "maskedPaths": STRINGS,
        "readonlyPaths": STRINGS,
        "seccomp": SECCOMP,
        "sysctl": {"*": str},
        "mountLabel": str,
        "personality": {"domain": str, "flags": STRINGS},
        "intelRdt": {"*": object},
        "memoryPolicy": {"mode": str, "nodes": str, "flags": STRINGS},
    },
}
"""A shape is a class, a tuple with the shape of a list's items, or a mapping of an object's fields ("*": any name)."""

REQUIRED = {
    "ociVersion", "root", "root.path", "process.args", "process.cwd", "process.rlimits[].type",
    "mounts[].destination", "linux.namespaces[].type", "linux.devices[].type", "linux.devices[].path",
    "linux.uidMappings[].size", "linux.gidMappings[].size", "linux.resources.devices[].allow",
    "linux.seccomp.defaultAction", "linux.seccomp.syscalls[].names", "linux.seccomp.syscalls[].action",
    "linux.seccomp.syscalls[].args[].index", "linux.seccomp.syscalls[].args[].op", "linux.personality.domain",
    "linux.resources.hugepageLimits[].pageSize", "linux.resources.network.priorities[].name",
    "process.scheduler.policy", "process.ioPriority.class", "linux.memoryPolicy.mode",
    *(f"hooks.{kind}[].path" for kind in HOOKS),
}  # fmt: skip
KINDS = {str: "a string", int: "a whole number", bool: "true or false", object: "anything"}


def shaped(value: Any, shape: Any, where: str, required: frozenset[str] | set[str] = REQUIRED, path: str = "") -> Any:
    """Check `value` against `shape`, and return it without null values and unknown properties.

    `where` is the file's name. Raises DocumentError with the place of the first value of a wrong type, or that is missing.
    """
    if isinstance(shape, Mapping):
        return _shaped_object(value, shape, where, required, path)
    if isinstance(shape, tuple):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise DocumentError(f"{where}: {path} must be a list, not {_shown(value)}")
        return [shaped(item, shape[0], where, required, f"{path}[{place}]") for place, item in enumerate(value)]
    if shape is object:
        return value
    if not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        raise DocumentError(f"{where}: {path} must be {KINDS[shape]}, not {_shown(value)}")
    if shape is str and not _is_text(value):
        raise DocumentError(f"{where}: {path} must be text without null characters")
    return value


def _shaped_object(value: Any, shape: Mapping[str, Any], where: str, required: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise DocumentError(f"{where}: {path or 'the document'} must be an object, not {_shown(value)}")
    prefix = f"{path}." if path else ""
    found = {}
    for name, item in value.items():
        kind = shape.get(name, shape.get("*"))
        # unknown properties "MUST NOT generate an error" (OCI runtime spec, "Extensibility"); Go writes null for empty
        if kind is not None and item is not None:
            found[name] = shaped(item, kind, where, required, f"{prefix}{name}")
    for name in shape:
        if name not in found and _general(f"{prefix}{name}") in required:
            raise DocumentError(f"{where}: {prefix}{name} is missing")
    return found


def _general(path: str) -> str:
    """Return `path` without the indices of list items."""
    parts = path.split("[")
    # an arbitrary name, such as that of a time offset, may have a bracket too
    return parts[0] + "".join("[" + part[max(part.find("]"), 0) :] for part in parts[1:])


def _is_text(value: str) -> bool:
    """Return whether `value` can be passed to the kernel as a path, argument or name."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 60 else f"{text[:57]}..."
