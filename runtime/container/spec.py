"""Translates Docker's container configuration to the OCI runtime specification's document. Pure.

`config` (merged from request and image) and `host` (HostConfig) have the Docker Engine API's field names. Paths that
only the engine knows (layers, volumes, bound files, namespaces) are in `ContainerPaths`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from runtime.bodies import ContainerConfig, ExecConfig, HostConfig, UlimitBody
from runtime.booleans import FALSE, TRUE
from runtime.container import seccomp_profile
from runtime.container.devices import devices
from runtime.container.resources import resources
from runtime.errors import BadRequestError
from runtime.linux.capability import NUMBERS
from runtime.oci import defaults
from runtime.oci.mount_options import KNOWN
from runtime.oci.process import LIMITS
from runtime.oci.types import OciMount, OciNamespace, OciProcess, OciRlimit, OciSeccomp, OciSpec

OCI_VERSION = "1.2.0"
ALL = "ALL"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHM_BYTES = 64 << 20
IPC_SYSCTLS = frozenset(
    f"kernel.{name}" for name in "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split()
)
TMPFS_VALUES = tuple("size= mode= uid= gid= nr_inodes= nr_blocks= mpol= huge= inode32 inode64 noswap".split())
"""Options that tmpfs itself takes (tmpfs(5))."""


@dataclass(frozen=True)
class MountPoint:
    """A resolved volume, bind, tmpfs or image mount of a container.

    `source` is a path of the host, "" for tmpfs; `subpath` is resolved inside it; `layers` are an image's, topmost first.
    """

    type: str
    target: str
    source: str = ""
    name: str = ""
    read_only: bool = False
    propagation: str = "rprivate"
    options: tuple[str, ...] = ()
    subpath: str = ""
    is_recursive: bool = True
    is_writable_below: bool = False
    """Whether what is mounted below a read-only mount stays writable."""
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContainerPaths:
    """Paths and IDs that the engine provides for one container; `upper` and `work` are overlayfs directories."""

    id: str
    engine_id: str
    layers: Sequence[Path]
    upper: Path | None
    work: Path | None
    rootfs: Path | None
    mounts: Sequence[MountPoint]
    files: Mapping[str, Path]
    namespaces: Mapping[str, str] = field(default_factory=dict)
    is_cgroup_v2: bool = False


def merge_image(config: ContainerConfig, image: ContainerConfig) -> ContainerConfig:
    """Return the container's `config` merged with that of the image, as Docker does in create."""
    merged: dict[str, Any] = {
        key: value for key, value in config.items() if key not in ("HostConfig", "NetworkingConfig")
    }
    of_image: Mapping[str, Any] = image
    for key in ("User", "WorkingDir", "StopSignal", "Healthcheck", "Shell"):
        if not merged.get(key):
            merged[key] = of_image.get(key)
    if merged.get("Healthcheck") and image.get("Healthcheck") and not merged["Healthcheck"].get("Test"):
        merged["Healthcheck"] = {**image["Healthcheck"], **{k: v for k, v in merged["Healthcheck"].items() if v}}
    if not merged.get("Entrypoint"):
        if merged.get("Entrypoint") is None or merged.get("Entrypoint") == []:
            if not merged.get("Cmd"):
                merged["Cmd"] = image.get("Cmd")
            if merged.get("Entrypoint") is None:
                merged["Entrypoint"] = image.get("Entrypoint")
    elif merged["Entrypoint"] == [""]:
        merged["Entrypoint"] = None
    given = merged.get("Env") or []
    names = {pair.partition("=")[0] for pair in given}
    merged["Env"] = [*given, *(pair for pair in image.get("Env") or () if pair.partition("=")[0] not in names)]
    for key in ("ExposedPorts", "Volumes", "Labels"):
        merged[key] = {**(of_image.get(key) or {}), **(merged.get(key) or {})}
    return cast(ContainerConfig, merged)


def command(config: ContainerConfig) -> list[str]:
    """Return the process's arguments. Raises BadRequestError if there are none."""
    arguments = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    if not arguments:
        raise BadRequestError("no command specified", "give one, or use an image that has one")
    return arguments


def capability_names(given: Sequence[str]) -> list[str]:
    """Return capabilities by their kernel names: "net_admin" becomes CAP_NET_ADMIN; ALL is kept."""
    names = [name.upper() for name in given]
    return [name if name.startswith("CAP_") or name == ALL else f"CAP_{name}" for name in names]


def capabilities(host: HostConfig) -> tuple[str, ...]:
    """Return the capabilities after HostConfig's Privileged, CapAdd and CapDrop. Raises BadRequestError."""
    if host.get("Privileged"):
        return tuple(NUMBERS)
    added, dropped = capability_names(host.get("CapAdd") or ()), capability_names(host.get("CapDrop") or ())
    for key, names in (("CapAdd", added), ("CapDrop", dropped)):
        for name in names:
            if name not in NUMBERS and name != ALL:
                raise BadRequestError(
                    f'invalid {key}: unknown capability: "{name}"', "capabilities(7) lists them, as in NET_ADMIN"
                )
    if ALL in added:
        wanted, unwanted = list(NUMBERS), dropped
    elif ALL in dropped:
        wanted, unwanted = added, []
    else:
        wanted, unwanted = [*defaults.CAPABILITIES, *added], dropped
    return tuple(name for name in dict.fromkeys(wanted) if name not in unwanted)


def build(config: ContainerConfig, host: HostConfig, place: ContainerPaths) -> OciSpec:
    """Return the OCI document of a container. Raises BadRequestError on an invalid setting."""
    granted = capabilities(host)
    privileged = bool(host.get("Privileged"))
    no_new_privileges, seccomp = security(host, granted)
    hostname = _hostname(config, host) or place.id[:12]
    annotations = _identity(config.get("User"), host)
    if host.get("Init"):
        annotations["skiff.init"] = "true"
    hidden, protected = hidden_paths(host)
    document: OciSpec = {
        "ociVersion": OCI_VERSION,
        "process": process({**config, "Hostname": hostname}, host, granted, no_new_privileges),
        "root": {"path": str(place.rootfs or "rootfs"), "readonly": bool(host.get("ReadonlyRootfs"))},
        "hostname": hostname,
        "mounts": _mounts(host, place, privileged),
        "annotations": annotations,
        "linux": {
            "namespaces": _namespaces(host, place),
            "cgroupsPath": f"/skiff-{place.engine_id}/{place.id}",
            "resources": resources(host, privileged),
            "maskedPaths": hidden,
            "readonlyPaths": protected,
            "devices": devices(host, privileged),
            "sysctl": _kernel_values(host),
        },
    }
    if config.get("Domainname"):
        document["domainname"] = config["Domainname"]
    if document["process"]["oomScoreAdj"] is None:
        del document["process"]["oomScoreAdj"]
    if seccomp is not None:
        document["linux"]["seccomp"] = seccomp
    if host.get("UTSMode") == "host":
        document.pop("domainname", None)
        del document["hostname"]
    return document


def _hostname(config: ContainerConfig, host: HostConfig) -> str:
    given: str = config.get("Hostname") or ""
    return given or (os.uname().nodename if host.get("NetworkMode") == "host" else "")


def _identity(user: str | None, host: HostConfig) -> dict[str, str]:
    """Return the user and groups as annotations: names are resolved inside the container, by `oci.user`."""
    found = {"skiff.user": user or ""}
    if host.get("GroupAdd"):
        found["skiff.group_add"] = ",".join(host["GroupAdd"])
    return found


def hidden_paths(host: HostConfig) -> tuple[list[str], list[str]]:
    """Return the masked and the read-only paths of a HostConfig."""
    if host.get("Privileged") or "systempaths=unconfined" in _security_options(host):
        return [], []
    hidden, protected = host.get("MaskedPaths"), host.get("ReadonlyPaths")
    return (
        defaults.masked_paths(os.cpu_count() or 1) if hidden is None else list(hidden),
        list(defaults.READ_ONLY_PATHS if protected is None else protected),
    )


def _kernel_values(host: HostConfig) -> dict[str, str]:
    """Return the sysctls for the document. Raises BadRequestError on those that belong to no namespace."""
    found = {}
    for name, value in (host.get("Sysctls") or {}).items():
        path = name.replace(".", "/")
        if path.startswith("net/") and os.path.normpath(path) == path:
            if host.get("NetworkMode") == "host":
                raise BadRequestError(f'sysctl "{name}" not allowed in host network namespace')
            continue  # set when the network namespace is created
        if name not in IPC_SYSCTLS and not (path.startswith("fs/mqueue/") and os.path.normpath(path) == path):
            raise BadRequestError(
                f'sysctl "{name}" is not in a separate kernel namespace',
                "a container can have net.*, fs.mqueue.* and the kernel's of shared memory, messages and semaphores",
            )
        if host.get("IpcMode") == "host":
            raise BadRequestError(f'sysctl "{name}" not allowed in host IPC namespace')
        found[name] = value
    return found


def environment_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment variables of a configuration by name."""
    return dict(pair.split("=", 1) for pair in config.get("Env") or () if "=" in pair)


def process(config: ContainerConfig, host: HostConfig, granted: Sequence[str], no_new_privileges: bool) -> OciProcess:
    """Return the document's `process`."""
    environment = list(config.get("Env") or ())
    names = {pair.partition("=")[0] for pair in environment}
    extra = [] if "PATH" in names else [f"PATH={DEFAULT_PATH}"]
    if "HOSTNAME" not in names and config.get("Hostname"):
        extra.append(f"HOSTNAME={config['Hostname']}")
    if config.get("Tty") and "TERM" not in names:
        extra.append("TERM=xterm")
    height, width = (host.get("ConsoleSize") or [0, 0])[:2]
    return {
        "terminal": bool(config.get("Tty")),
        "consoleSize": {"height": height, "width": width},
        "user": {"uid": 0, "gid": 0, **({} if host.get("Umask") is None else {"umask": host["Umask"]})},
        "args": command(config),
        "env": [*extra, *_last_of_each(environment)],
        "cwd": config.get("WorkingDir") or "/",
        "capabilities": {kind: list(granted) for kind in ("bounding", "effective", "permitted")},
        "rlimits": [_limit(limit) for limit in host.get("Ulimits") or ()],
        "noNewPrivileges": no_new_privileges,
        "oomScoreAdj": host.get("OomScoreAdj"),
    }


def _last_of_each(pairs: Sequence[str]) -> list[str]:
    """Return the last assignment of each variable; an entry without "=" unsets it (Docker Engine API, "Env")."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, _ = pair.partition("=")
        if equals:
            found[name] = pair
        else:
            found.pop(name, None)
    return list(found.values())


def _limit(limit: UlimitBody) -> OciRlimit:
    kind, soft = f"RLIMIT_{limit['Name'].upper()}", limit["Soft"]
    hard = limit.get("Hard", soft)
    if kind not in LIMITS:
        raise BadRequestError(f"invalid ulimit type: {limit['Name']}", "setrlimit(2) lists them, as in nofile")
    if hard >= 0 and (soft > hard or soft < 0):
        raise BadRequestError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"type": kind, "soft": soft, "hard": hard}


def build_exec(
    body: ExecConfig, config: ContainerConfig, host: HostConfig, size: Sequence[int]
) -> tuple[OciProcess, dict[str, str], OciSeccomp | None]:
    """Return the OCI process, annotations and seccomp filter of an exec (Docker's ExecConfig) in a container."""
    granted = capabilities({**host, "Privileged": bool(host.get("Privileged") or body.get("Privileged"))})
    # the container's filter also applies to a privileged exec
    no_new_privileges, seccomp = security(host, capabilities(host))
    merged: ContainerConfig = {
        "Cmd": body.get("Cmd") or [],
        "Env": [*(config.get("Env") or ()), *(body.get("Env") or ())],
        "Tty": bool(body.get("Tty")),
        "WorkingDir": body.get("WorkingDir") or config.get("WorkingDir") or "",
        "Hostname": _hostname(config, host),
    }
    limits: HostConfig = {"Ulimits": host.get("Ulimits") or [], "ConsoleSize": list(size)}
    if host.get("Umask") is not None:
        limits["Umask"] = host["Umask"]
    document = process(merged, limits, granted, no_new_privileges)
    document["oomScoreAdj"] = host.get("OomScoreAdj")
    return document, _identity(body.get("User") or config.get("User"), host), seccomp


def security(host: HostConfig, granted: Sequence[str]) -> tuple[bool, OciSeccomp | None]:
    """Parse HostConfig's SecurityOpt: return (no_new_privs, seccomp filter). Raises BadRequestError."""
    no_new_privileges = False
    seccomp: OciSeccomp | None = defaults.seccomp(granted)
    for option in _security_options(host):
        key, _, value = option.partition("=")
        if key == "no-new-privileges" and value in ("", "true", "false"):
            no_new_privileges = value != "false"
        elif key == "seccomp" and value == "unconfined":
            seccomp = None
        elif key == "seccomp" and value.startswith("{"):
            about = os.uname()
            seccomp = seccomp_profile.parse(value, granted, about.machine, about.release)
        elif (key == "seccomp" and value in ("", "builtin")) or (
            key == "writable-cgroups" and value in ("", *TRUE, *FALSE)
        ):
            continue
        elif key not in ("apparmor", "label", "systempaths"):
            raise BadRequestError(
                f'invalid --security-opt {2 if "=" in option else 1}: "{option}"',
                "known: no-new-privileges[=true|false], seccomp=unconfined, seccomp=<profile>, "
                "writable-cgroups[=true|false]",
            )
    return no_new_privileges, None if host.get("Privileged") else seccomp


def _security_options(host: HostConfig) -> list[str]:
    """Return the security options with "=" as separator; older clients use ":"."""
    return [
        option if "=" in option.partition(":")[0] else option.replace(":", "=", 1)
        for option in host.get("SecurityOpt") or ()
    ]


def _may_write_cgroups(host: HostConfig) -> bool:
    """Whether the container may change its own cgroup: Docker's `writable-cgroups`, whose last word counts."""
    chosen = [option for option in _security_options(host) if option.partition("=")[0] == "writable-cgroups"]
    return bool(chosen) and chosen[-1].partition("=")[2] not in FALSE


def _namespaces(host: HostConfig, place: ContainerPaths) -> list[OciNamespace]:
    found: list[OciNamespace] = [{"type": "mount"}]
    for kind, mode in (("pid", "PidMode"), ("ipc", "IpcMode"), ("uts", "UTSMode"), ("cgroup", "CgroupnsMode")):
        if host.get(mode) == "host":
            continue
        found.append({"type": kind, "path": place.namespaces[kind]} if kind in place.namespaces else {"type": kind})
    if "network" in place.namespaces:
        found.append({"type": "network", "path": place.namespaces["network"]})
    return found


def _mounts(host: HostConfig, place: ContainerPaths, privileged: bool) -> list[OciMount]:
    mounts: list[OciMount] = []
    if place.upper is not None:
        options = [f"lowerdir+={layer}" for layer in place.layers]
        options += [f"upperdir={place.upper}", f"workdir={place.work}"]
        mounts.append({"destination": "/", "type": "overlay", "source": "overlay", "options": options})
    base = defaults.mounts(host.get("ShmSize") or DEFAULT_SHM_BYTES)
    if "ipc" in place.namespaces or host.get("IpcMode") == "host":
        # another container's /dev/shm is in that container's mount namespace
        process, _, path = place.namespaces.get("shm", "/dev/shm").partition("/root/")
        shared: OciMount = {"destination": "/dev/shm", "type": "bind", "source": process, "options": ["rbind"]}
        if path:
            shared["source"], shared["namespace"] = f"/{path}", f"{process}/ns/mnt"
        base = [m for m in base if m["destination"] != "/dev/shm"]
        base.append(shared)
    if privileged:
        base = [{**m, "options": [o for o in m["options"] if o != "ro"]} for m in base]
    options = ["nosuid", "noexec", "nodev", "rw" if privileged or _may_write_cgroups(host) else "ro"]
    base.append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options})
    access = ["ro"] if host.get("ReadonlyRootfs") else []
    own: list[OciMount] = [
        {"destination": target, "type": "bind", "source": str(source), "options": ["rbind", "rprivate", *access]}
        for target, source in place.files.items()
    ]
    volumes = [mount_entry(point) for point in place.mounts]
    targets = {mount["destination"].rstrip("/") for mount in volumes}
    absent = ("/dev/shm", "/dev/mqueue") if host.get("IpcMode") == "none" else ()
    chosen = [
        mount
        for mount in base
        if mount["destination"] not in targets
        and mount["destination"] not in absent
        # a volume at /dev replaces everything below it
        and not ("/dev" in targets and mount["destination"].startswith("/dev/"))
    ]
    volumes += [mount for mount in own if mount["destination"] not in targets]
    # parents before the mounts below them
    return [*mounts, *chosen, *sorted(volumes, key=lambda mount: mount["destination"].rstrip("/").count("/"))]


def mount_entry(point: MountPoint) -> OciMount:
    """Return the entry in the document's `mounts` for a volume, bind, tmpfs or image mount."""
    if point.type == "tmpfs":
        options = list(point.options) or ["nosuid", "nodev", "noexec"]
        for option in options:
            if option not in KNOWN and not option.startswith(TMPFS_VALUES):
                raise BadRequestError(f'invalid tmpfs option "{option}"', "mount(8) lists the options of tmpfs")
        return {"destination": point.target, "type": "tmpfs", "source": "tmpfs", "options": options}
    if len(point.layers) > 1:
        lower = [f"lowerdir+={layer}" for layer in point.layers]
        return {"destination": point.target, "type": "overlay", "source": "overlay", "options": [*lower, "ro"]}
    access = ("rro" if point.is_recursive and not point.is_writable_below else "ro") if point.read_only else "rw"
    bound: OciMount = {
        "destination": point.target,
        "type": "bind",
        "source": point.layers[0] if point.layers else point.source,
        "options": ["rbind" if point.is_recursive else "bind", access, point.propagation],
    }
    if point.subpath:
        bound["subpath"] = point.subpath
    return bound
