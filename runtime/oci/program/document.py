"""Reads and checks a bundle's config.json, and fills in defaults.

Everything but `read` is pure. Messages name the place in the document as the OCI runtime specification does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from runtime.hints import TYPE_CHECKING, Any
from runtime.linux import capability
from runtime.oci import mount_options
from runtime.oci.process import LIMITS
from runtime.oci.program import confinement, scheduling
from runtime.oci.program.errors import DocumentError
from runtime.oci.program.namespaces import NAMESPACES
from runtime.oci.program.shape import DOCUMENT, PROCESS, shaped

if TYPE_CHECKING:
    from runtime.oci.types import OciHook, OciLinux, OciNamespace, OciProcess, OciResources, OciSpec

NAME = "config.json"
NEWEST = "1.2.1"
"""The version of the specification that is implemented."""
LARGEST_BYTES = 1 << 24
CLOCKS = ("monotonic", "boottime")
SYSCTLS_OF_IPC = frozenset(
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni "
    "kernel.shm_rmid_forced".split()
)
DEVICE_TYPES = "cubp"
PERSONALITIES = {"LINUX": 0x0, "LINUX32": 0x8}
"""<linux/personality.h>"""
LONGEST_INTERFACE = 15  # <linux/if.h>: IFNAMSIZ, with the terminating null byte
HIGHEST_ID = (1 << 32) - 2
LABELLED = ("tmpfs", "devpts", "overlay")
"""Filesystems whose files have the label that the mount has (mount(8), "context=")."""
SPREAD = {
    **dict.fromkeys(("slave", "rslave"), "rslave"),
    **dict.fromkeys(("private", "rprivate", "unbindable", "runbindable"), "rprivate"),
    **dict.fromkeys(("shared", "rshared"), ""),
}
"""The propagation of a bind mount without an option for it, by that of the root filesystem."""


def read(bundle: str, config: str = "") -> OciSpec:
    """Return the checked document of the directory `bundle`, or of the file `config`. Raises DocumentError."""
    path = config or os.path.join(bundle, NAME)
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        cure = "--config must name a file" if config else "--bundle must name a directory with a config.json"
        raise DocumentError(f"{path}: {reason}", cure) from error
    if len(text) > LARGEST_BYTES:
        raise DocumentError(f"{path}: larger than {LARGEST_BYTES >> 20} MiB")
    return checked(decoded(text, path), path)


def decoded(text: bytes, where: str) -> Any:
    """Return the JSON value `text`. Raises DocumentError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: {error or 'not JSON'}") from error


def checked(value: Any, where: str = NAME) -> OciSpec:
    """Return the JSON value as a checked and consistent document. Raises DocumentError."""
    document: OciSpec = shaped(value, DOCUMENT, where)
    document["linux"] = settings = document.get("linux") or {}
    settings.setdefault("namespaces", [])
    document.setdefault("mounts", [])
    version = document["ociVersion"]
    if version.split(".")[0] != "1":
        raise DocumentError(f"{where}: ociVersion {version} must be from 1.0.0 to {NEWEST}")
    # "REQUIRED when start is called" (OCI runtime spec, "Process"): a container without one can only be created
    has_process = "process" in document
    process = document.setdefault("process", {"args": [], "cwd": "/"})
    _check_process(process, where, may_be_empty=not has_process)
    new, joined = _namespaces(settings["namespaces"], where)
    _check_namespaces(document, new, joined, where)
    _check_settings(settings, where)
    _check_mounts(document, where)
    _check_hooks(document.get("hooks") or {}, where)
    for device in settings.get("devices") or ():
        if device["type"] not in tuple(DEVICE_TYPES) or not device["path"].startswith("/"):
            raise DocumentError(f"{where}: linux.devices: {device['path']} of type {device['type']!r} can't be created")
        if device["type"] != "p" and ("major" not in device or "minor" not in device):
            raise DocumentError(f"{where}: linux.devices: {device['path']} needs major and minor")
    return document


def checked_process(value: Any, where: str) -> OciProcess:
    """Return the JSON value as a checked process for `exec`. Raises DocumentError."""
    process: OciProcess = shaped(value, PROCESS, where, {"args"})
    process.setdefault("cwd", "/")
    _check_process(process, where)
    return process


def _check_process(process: OciProcess, where: str, *, may_be_empty: bool = False) -> None:
    if not process["args"] and not may_be_empty:
        raise DocumentError(f"{where}: process.args must not be empty")
    if not process["cwd"].startswith("/"):
        raise DocumentError(f"{where}: process.cwd must be an absolute path, not {process['cwd']!r}")
    user = process.setdefault("user", {})
    for name, number in (("uid", user.setdefault("uid", 0)), ("gid", user.setdefault("gid", 0))):
        if not 0 <= number <= HIGHEST_ID:
            raise DocumentError(f"{where}: process.user.{name} {number} is out of range")
    if any(not 0 <= gid <= HIGHEST_ID for gid in user.get("additionalGids") or ()):
        raise DocumentError(f"{where}: process.user.additionalGids is out of range")
    kinds = [limit["type"] for limit in process.get("rlimits") or ()]
    for kind in kinds:
        if kind not in LIMITS:
            raise DocumentError(f"{where}: process.rlimits: {kind} is not an rlimit of Linux")
        if kinds.count(kind) > 1:
            raise DocumentError(f"{where}: process.rlimits has {kind} twice")
    for limit in process.get("rlimits") or ():
        limit.setdefault("soft", 0)
        limit.setdefault("hard", 0)
    if not -1000 <= (process.get("oomScoreAdj") or 0) <= 1000:
        raise DocumentError(f"{where}: process.oomScoreAdj must be from -1000 to 1000")
    sets = process.get("capabilities") or {}
    refused = sorted(set(sets.get("effective") or ()) - set(sets.get("permitted") or ()))
    if refused:
        raise DocumentError(
            f"{where}: process.capabilities: {', '.join(refused)} can't be effective without being permitted"
        )
    scheduling.check(process, where)
    confinement.check_process(process, where)


def drop_unknown_capabilities(process: OciProcess) -> list[str]:
    """Remove unknown capabilities from `process` and return their names.

    "Any value which cannot be mapped to a relevant kernel interface MUST be logged as a warning" (OCI runtime spec).
    """
    sets = process.get("capabilities") or {}
    process["capabilities"] = {kind: [n for n in names if n in capability.NUMBERS] for kind, names in sets.items()}
    return sorted({name for names in sets.values() for name in names if name not in capability.NUMBERS})


def _namespaces(entries: list[OciNamespace], where: str) -> tuple[set[str], set[str]]:
    new: set[str] = set()
    joined: set[str] = set()
    for entry in entries:
        kind = entry["type"]
        if kind not in NAMESPACES:
            raise DocumentError(f"{where}: linux.namespaces: {kind!r} must be one of {', '.join(NAMESPACES)}")
        if kind in new | joined:
            raise DocumentError(f"{where}: linux.namespaces has {kind} twice")
        if entry.get("path") and not entry["path"].startswith("/"):
            raise DocumentError(f"{where}: linux.namespaces: the path of {kind} must be absolute")
        (joined if entry.get("path") else new).add(kind)
    return new, joined


def _check_namespaces(document: OciSpec, new: set[str], joined: set[str], where: str) -> None:
    settings = document["linux"]
    there = new | joined
    for field in ("hostname", "domainname"):
        if document.get(field) and "uts" not in there:
            raise DocumentError(f"{where}: {field} needs a UTS namespace")
    mappings = bool(settings.get("uidMappings")), bool(settings.get("gidMappings"))
    if "user" in new and not all(mappings):
        raise DocumentError(f"{where}: a new user namespace needs linux.uidMappings and linux.gidMappings")
    if any(mappings) and "user" not in there:
        raise DocumentError(f"{where}: linux.uidMappings and linux.gidMappings need a user namespace")
    if "mount" not in there:
        for field in ("maskedPaths", "readonlyPaths"):
            if settings.get(field):
                raise DocumentError(f"{where}: linux.{field} needs a mount namespace")
    offsets = settings.get("timeOffsets") or {}
    if offsets and "time" not in new:
        raise DocumentError(f"{where}: linux.timeOffsets need a new time namespace")
    for clock in offsets:
        if clock not in CLOCKS:
            raise DocumentError(f"{where}: linux.timeOffsets: {clock!r} must be one of {', '.join(CLOCKS)}")
    devices = settings.get("netDevices") or {}
    if devices and "network" not in there:
        raise DocumentError(f"{where}: linux.netDevices need a network namespace")
    names = [one.get("name") or name for name, one in devices.items()]
    for name in [*devices, *names]:
        if not 0 < len(os.fsencode(name)) <= LONGEST_INTERFACE or name in (".", "..") or set(name) & set("/: \t\n"):
            raise DocumentError(f"{where}: linux.netDevices: {name!r} can't be the name of a network device")
    if len(set(names)) < len([name for name in names if "%d" not in name]):
        raise DocumentError(f"{where}: linux.netDevices has two devices of one name")
    for name in settings.get("sysctl") or {}:
        _check_sysctl(name, there, where)


def _check_sysctl(name: str, there: set[str], where: str) -> None:
    """Refuse a sysctl that belongs to no namespace, or to one that the container shares with the host."""
    plain = name.replace("/", ".")
    if plain in SYSCTLS_OF_IPC or plain.startswith("fs.mqueue."):
        needed = "ipc"
    elif plain.startswith("net."):
        needed = "network"
    elif plain.startswith("user."):
        needed = "user"
    elif plain in ("kernel.domainname", "kernel.hostname"):
        needed = "uts"
    else:
        raise DocumentError(f"{where}: linux.sysctl: {name} belongs to no namespace and would change the host")
    if plain == "kernel.hostname" and "uts" in there:
        raise DocumentError(
            f"{where}: linux.sysctl: {name} conflicts with the property hostname", "set `hostname` of the document"
        )
    if needed not in there or ".." in name:
        raise DocumentError(f"{where}: linux.sysctl: {name} needs a namespace of its own: {needed}")


def _check_mounts(document: OciSpec, where: str) -> None:
    for entry in document["mounts"]:
        if not entry["destination"].startswith("/"):
            # relative paths, allowed in 1.0.0, are taken as absolute, as other runtimes do
            entry["destination"] = "/" + entry["destination"]
        if bool(entry.get("uidMappings")) != bool(entry.get("gidMappings")):
            raise DocumentError(f"{where}: mounts: {entry['destination']} needs both uidMappings and gidMappings")
        options = mount_options.MountOptions(entry.get("options") or ())
        is_bind = entry.get("type") == "bind" or options.is_bind
        label = document["linux"].get("mountLabel")
        if label and entry.get("type") in LABELLED:
            entry["options"] = [*(entry.get("options") or ()), f'context="{label}"']
        if (entry.get("uidMappings") or options.maps_ids) and not is_bind:
            raise DocumentError(f"{where}: mounts: {entry['destination']}: only a bind mount can map IDs")
        if is_bind and not entry.get("source"):
            raise DocumentError(f"{where}: mounts: {entry['destination']}: a bind mount needs a source")
        spread = SPREAD[document["linux"].get("rootfsPropagation") or "slave"]
        if is_bind and not options.propagation and spread:
            entry["options"] = [*(entry.get("options") or ()), spread]


def _check_hooks(hooks: Mapping[str, Sequence[OciHook]], where: str) -> None:
    for kind, entries in hooks.items():
        for hook in entries:
            if not hook["path"].startswith("/"):
                raise DocumentError(f"{where}: hooks.{kind}: the path {hook['path']!r} must be absolute")
            if hook.get("timeout", 1) <= 0:
                raise DocumentError(f"{where}: hooks.{kind}: the timeout of {hook['path']} must be above 0")


def _check_settings(settings: OciLinux, where: str) -> None:
    propagation = settings.get("rootfsPropagation") or "private"
    if propagation not in mount_options.PROPAGATION:
        raise DocumentError(
            f"{where}: linux.rootfsPropagation {propagation!r} must be one of {', '.join(mount_options.PROPAGATION)}"
        )
    hidden = {"maskedPaths": settings.get("maskedPaths"), "readonlyPaths": settings.get("readonlyPaths")}
    for field, paths in hidden.items():
        for path in paths or ():
            if not path.startswith("/"):
                raise DocumentError(f"{where}: linux.{field}: {path!r} must be an absolute path")
    personality = settings.get("personality")
    if personality:
        if personality["domain"] not in PERSONALITIES:
            raise DocumentError(f"{where}: linux.personality.domain {personality['domain']!r} must be LINUX or LINUX32")
        if personality.get("flags"):
            raise DocumentError(f"{where}: linux.personality.flags: the specification defines none")
    if settings.get("intelRdt"):
        raise DocumentError(f"{where}: linux.intelRdt: Intel RDT is not supported")
    scheduling.check_memory_policy(settings.get("memoryPolicy"), where)
    _check_resources(settings.get("resources") or {}, where)
    confinement.check_settings(settings, where)


def _check_resources(resources: OciResources, where: str) -> None:
    for rule in resources.get("devices") or ():
        if (rule.get("type") or "a") not in ("a", "b", "c", "u") or not set(rule.get("access") or "") <= set("rwm"):
            raise DocumentError(
                f"{where}: linux.resources.devices: no device is of type {rule.get('type')!r}, {rule.get('access')!r}"
            )
    names = [*(resources.get("unified") or {}), *(one["pageSize"] for one in resources.get("hugepageLimits") or ())]
    for name in names:
        if "/" in name or not name:
            raise DocumentError(f"{where}: linux.resources: {name!r} is not a file of a cgroup")
