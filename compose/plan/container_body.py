"""A service of the canonical model as the Docker Engine API's container configuration. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from compose.plan import project as labels
from compose.plan.endpoints import endpoints
from compose.plan.hashes import service_digest
from compose.plan.images import mounted_digest
from compose.plan.inputs import inputs_of
from compose.plan.parts import DeviceRequest, HealthSettings, Mount, Ulimit
from compose.plan.project import COMPOSE_VERSION, DesiredProject, container_name, image_name
from compose.plan.service import Service
from compose.plan.sharing import resolved, shares
from compose.plan.values import whole
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from runtime.bodies import (
        CreateBody,
        DeviceRequestBody,
        Empty,
        HealthConfig,
        HostConfig,
        LogConfig,
        MountBody,
        Resources,
        ThrottleDevice,
        UlimitBody,
    )


def container_body(
    target: DesiredProject,
    name: str,
    number: int,
    *,
    image_id: str,
    replaces: str = "",
    files: Sequence[MountBody] = (),
    security: Mapping[str, Sequence[str]] | None = None,
    inherited: Sequence[MountBody] = (),
    container_of: Mapping[str, str] | None = None,
    images: Mapping[str, str] | None = None,
) -> CreateBody:
    """Return the body of "Create a container" for the service's container `number`.

    `replaces` is the ID of the container that is recreated; `files` are mounts of configs and secrets,
    `security` are parts of the HostConfig made of `security_opt`; `inherited` are anonymous volumes taken over from the
    container that is replaced; `container_of` maps services to the containers that `network_mode: service:x` and its
    like refer to; `images` are IDs by name, of the images that it mounts.
    """
    service = target.services[name]
    host = cast("HostConfig", {**_host_config(service, container_of or {}), **(security or {})})
    taken = {mount["Target"] for mount in inherited}
    own = [_mount(target, mount) for mount in service.mounts if mount.target not in taken]
    if mounts := [*own, *files, *inherited]:
        host["Mounts"] = mounts
    networks = endpoints(target, service, container_name(target, name, number))
    if not service.network_mode:
        host["NetworkMode"] = next(iter(networks), "none")
    body: dict[str, Any] = {
        "Image": image_name(target, name),
        "Cmd": service.command,
        "Entrypoint": service.entrypoint,
        "Env": _environment(service),
        "Labels": _labels(target, service, number, image_id, service_digest(resolved(service, container_of or {})))
        | ({labels.REPLACE: replaces} if replaces else {})
        | ({labels.MOUNTED_IMAGES: mounted} if (mounted := mounted_digest(service, images or {})) else {}),
        "ExposedPorts": _exposed(service),
        "Hostname": service.hostname,
        "Domainname": service.domainname,
        "User": service.user,
        "WorkingDir": service.working_directory,
        "Tty": service.tty,
        "OpenStdin": service.stdin_open,
        "StdinOnce": False,
        "MacAddress": service.mac_address,
        "StopSignal": service.stop_signal,
        "Healthcheck": _healthcheck(service.healthcheck),
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": networks} if not service.network_mode else None,
    }
    if service.stop_grace_period_ns is not None:
        # whole seconds (Docker Engine API): never less than what is asked for
        body["StopTimeout"] = -(-service.stop_grace_period_ns // 10**9)
    return cast("CreateBody", {key: value for key, value in body.items() if value is not None})


def _environment(service: Service) -> list[str]:
    # one without a value removes the image's (Docker Engine API, "Env")
    return [key if value is None else f"{key}={value}" for key, value in service.environment.items()]


def _labels(target: DesiredProject, service: Service, number: int, image_id: str, digest: str) -> dict[str, str]:
    depends = ",".join(
        f"{other}:{how.condition}:{str(how.restart).lower()}" for other, how in service.dependencies.items()
    )
    named = {labels.ENVIRONMENT_FILE: ",".join(target.environment_files)} if target.environment_files else {}
    return {
        **service.labels,
        **named,
        labels.INPUTS: inputs_of(target, service.name).label(),
        labels.PROJECT: target.name,
        labels.SERVICE: service.name,
        labels.NUMBER: str(number),
        labels.ONEOFF: "False",
        labels.CONFIG_HASH: digest,
        labels.CONFIG_FILES: ",".join(target.config_files),
        labels.WORKING_DIR: target.working_directory,
        labels.DEPENDS_ON: depends,
        labels.IMAGE: image_id,
        labels.VERSION: COMPOSE_VERSION,
    }


def _exposed(service: Service) -> dict[str, Empty]:
    ports = [*service.expose, *(port.key for port in service.ports)]
    return {port if "/" in port else f"{port}/tcp": {} for port in ports}


def published_ports(service: Service) -> list[dict[str, str]]:
    """Return the host ports that the service wants, as ports/check takes them; a port the host chooses is left out."""
    return [
        {"HostIp": port.host_ip, "HostPort": port.published, "Protocol": port.protocol}
        for port in service.ports
        if port.published
    ]


def _port_bindings(service: Service) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in service.ports:
        found.setdefault(port.key, []).append({"HostIp": port.host_ip, "HostPort": port.published})
    return found


def _capabilities(names: Sequence[str] | None) -> list[str] | None:
    """Return capabilities as docker compose hands them on, and the engine shows them: by their whole names, in order."""
    if not names:
        return None
    upper = {str(name).strip().upper() for name in names}
    return sorted(name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in upper)


def _host_config(service: Service, container_of: Mapping[str, str]) -> HostConfig:
    def shared(key: str) -> str:
        donor = shares(service, key)
        kind = {"network_mode": "network", "ipc": "IPC", "pid": "PID"}[key] + " namespace"
        return f"container:{_donor(donor, kind, container_of)}" if donor else service.namespace(key)

    restart = service.restart_policy
    host: dict[str, Any] = {
        "NetworkMode": shared("network_mode"),
        "PortBindings": _port_bindings(service),
        "RestartPolicy": {"Name": restart.name, "MaximumRetryCount": restart.attempts},
        "Privileged": service.is_privileged,
        "CapAdd": _capabilities(service.cap_add),
        "CapDrop": _capabilities(service.cap_drop),
        "ReadonlyRootfs": service.is_read_only,
        "Init": service.init,
        "Dns": service.dns,
        "DnsSearch": service.dns_search,
        "DnsOptions": service.dns_options,
        "ExtraHosts": service.extra_hosts,
        "GroupAdd": service.group_add,
        "PidMode": shared("pid"),
        "IpcMode": shared("ipc"),
        "UTSMode": service.namespace("uts"),
        "UsernsMode": service.namespace("userns_mode"),
        "CgroupnsMode": service.namespace("cgroup"),
        "CgroupParent": service.cgroup_parent,
        "ShmSize": service.number("shm_size"),
        "Sysctls": service.sysctls,
        "Tmpfs": service.tmpfs,
        "Ulimits": ulimit_bodies(service.ulimits),
        "Devices": _devices(service),
        "DeviceCgroupRules": service.device_cgroup_rules,
        "OomKillDisable": service.is_oom_kill_disabled,
        "OomScoreAdj": service.oom_score_adj,
        "Memory": service.memory_bytes,
        "MemoryReservation": service.memory_reservation_bytes,
        "MemorySwap": service.number("memswap_limit"),
        "MemorySwappiness": service.number("mem_swappiness"),
        "NanoCpus": service.nano_cpus,
        "CpuShares": service.number("cpu_shares"),
        "CpuQuota": service.number("cpu_quota"),
        "CpuPeriod": service.number("cpu_period"),
        "CpuRealtimePeriod": service.number("cpu_rt_period"),
        "CpuRealtimeRuntime": service.number("cpu_rt_runtime"),
        "CpusetCpus": service.cpuset,
        "PidsLimit": service.pids_limit,
        **_block_io(service.block_io),
        "LogConfig": _logging(service),
        "Runtime": service.runtime,
        "Links": _links(service, container_of) if service.network_mode == "bridge" else None,
        "VolumesFrom": _volumes_from(service, container_of),
        "Annotations": service.annotations,
        "StorageOpt": service.storage_options,
        "DeviceRequests": [_device_request(each) for each in service.device_requests],
    }
    return cast("HostConfig", {key: value for key, value in host.items() if value not in (None, "", 0, [], {})})


def _block_io(config: Mapping[str, Any]) -> Resources:
    def rates(key: str) -> list[ThrottleDevice]:
        return [{"Path": one["path"], "Rate": whole(one["rate"])} for one in config.get(key) or ()]

    return {
        "BlkioWeight": whole(config.get("weight")),
        "BlkioWeightDevice": [
            {"Path": one["path"], "Weight": whole(one["weight"])} for one in config.get("weight_device") or ()
        ],
        "BlkioDeviceReadBps": rates("device_read_bps"),
        "BlkioDeviceWriteBps": rates("device_write_bps"),
        "BlkioDeviceReadIOps": rates("device_read_iops"),
        "BlkioDeviceWriteIOps": rates("device_write_iops"),
    }


def ulimit_bodies(limits: Iterable[Ulimit]) -> list[UlimitBody]:
    """Return limits as the engine takes them."""
    return [{"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard} for limit in limits]


def _devices(service: Service) -> list[dict[str, str]]:
    return [
        {
            "PathOnHost": device["source"],
            "PathInContainer": device.get("target") or device["source"],
            "CgroupPermissions": device.get("permissions") or "rwm",
        }
        for device in service.devices
    ]


def _device_request(request: DeviceRequest) -> DeviceRequestBody:
    body: DeviceRequestBody = {
        "Driver": request.driver,
        "Count": request.number,
        "Capabilities": [list(request.capabilities)],
        "Options": dict(request.options),
    }
    if request.ids is not None:
        body["DeviceIDs"] = list(request.ids)
    return body


def _logging(service: Service) -> LogConfig | None:
    if service.logging is None:
        return None
    driver, options = service.logging
    return {"Type": driver, "Config": dict(options)}


def _volumes_from(service: Service, container_of: Mapping[str, str]) -> list[str]:
    found = []
    for entry in service.volumes_from:
        kind, _, rest = entry.partition(":")
        if kind == "container":
            found.append(rest)
        else:
            found.append(_donor(kind, "volume", container_of) + (f":{rest}" if rest else ""))
    return found


def _links(service: Service, container_of: Mapping[str, str]) -> list[str]:
    """Return the links of a container on the engine's default network, which has no names of its own."""
    found = []
    for entry in service.links:
        other, _, alias = entry.partition(":")
        id = _donor(other, "network", container_of) if entry in service.own_links else other
        found.append(f"{id}:{alias or other}")
    return found


def _donor(service: str, what: str, container_of: Mapping[str, str]) -> str:
    """Return the container of a service that others share something of. Raises SkiffError where it has none."""
    if service not in container_of:
        raise SkiffError(
            f"cannot share {what} with service {service}: container missing",
            f"make it: `skiff up {service}`",
        )
    return container_of[service]


def _mount(target: DesiredProject, mount: Mount) -> MountBody:
    body: MountBody = {
        "Type": mount.type,
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
    }
    match mount.type:
        case "volume":
            declared = target.section("volumes").get(mount.source) or {}
            body["Source"] = declared.get("name") or mount.source
            body["VolumeOptions"] = {"NoCopy": mount.no_copy, "Subpath": mount.subpath}
            if mount.labels is not None:
                body["VolumeOptions"]["Labels"] = dict(mount.labels)
        case "bind":
            body["BindOptions"] = {
                "Propagation": mount.propagation,
                "CreateMountpoint": mount.creates_host_path,
                "NonRecursive": mount.recursive == "disabled",
                "ReadOnlyNonRecursive": mount.recursive == "writable",
                "ReadOnlyForceRecursive": mount.recursive == "readonly",
            }
        case "image":
            body["ImageOptions"] = {"Subpath": mount.subpath}
        case "tmpfs":
            body["Source"] = ""
            body["TmpfsOptions"] = {"SizeBytes": mount.size_bytes, "Mode": mount.mode}
    return body


def _healthcheck(check: HealthSettings | None) -> HealthConfig | None:
    if check is None:
        return None
    if check.is_disabled:
        return {"Test": ["NONE"]}
    given = {
        "Test": ["CMD-SHELL", check.test] if isinstance(check.test, str) else check.test,
        "Interval": check.interval_ns,
        "Timeout": check.timeout_ns,
        "StartPeriod": check.start_period_ns,
        "StartInterval": check.start_interval_ns,
        "Retries": check.retries,
    }
    return cast("HealthConfig", {key: value for key, value in given.items() if value is not None})
