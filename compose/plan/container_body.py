"""A service of the canonical model as the Docker Engine API's container configuration. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compose.plan import project as labels
from compose.plan.content import content_digest
from compose.plan.devices import device_requests
from compose.plan.hashes import service_digest
from compose.plan.project import COMPOSE_VERSION, DesiredProject, container_name, dependencies, image_name
from compose.plan.sharing import resolved, shares
from compose.plan.values import duration_ns, nano_cpus, whole
from runtime.errors import SkiffError


def container_body(
    target: DesiredProject,
    name: str,
    number: int,
    *,
    image_id: str,
    replaces: str = "",
    files: Sequence[Mapping[str, Any]] = (),
    security: Mapping[str, Sequence[str]] | None = None,
    inherited: Sequence[Mapping[str, Any]] = (),
    container_of: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the body of "Create a container" for the service's container `number`.

    `replaces` is the ID of the container that is recreated; `files` are mounts of configs and secrets,
    `security` are parts of the HostConfig made of `security_opt`; `inherited` are anonymous volumes taken over from the
    container that is replaced; `container_of` maps services to the containers that `network_mode: service:x` and its
    like mean.
    """
    service = target.services[name]
    host = {**_host_config(target, service, container_of or {}), **(security or {})}
    taken = {mount["Target"] for mount in inherited}
    host["Mounts"] = [*(m for m in _mounts(target, service) if m["Target"] not in taken), *files, *inherited] or None
    networks = _networks(target, name, service, container_name(target, name, number))
    mode = service.get("network_mode")
    if not mode:
        host["NetworkMode"] = next(iter(networks), "none")
    body: dict[str, Any] = {
        "Image": image_name(target, name),
        "Cmd": service.get("command"),
        "Entrypoint": service.get("entrypoint"),
        "Env": _environment(service),
        "Labels": _labels(target, name, number, image_id, service_digest(resolved(service, container_of or {})))
        | ({labels.REPLACE: replaces} if replaces else {}),
        "ExposedPorts": _exposed(service),
        "Hostname": service.get("hostname") or "",
        "Domainname": service.get("domainname") or "",
        "User": service.get("user") or "",
        "WorkingDir": service.get("working_dir") or "",
        "Tty": bool(service.get("tty")),
        "OpenStdin": bool(service.get("stdin_open")),
        "StdinOnce": False,
        "MacAddress": service.get("mac_address") or "",
        "StopSignal": service.get("stop_signal") or "",
        "Healthcheck": _healthcheck(service.get("healthcheck")),
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": networks} if not mode else None,
    }
    if service.get("stop_grace_period"):
        body["StopTimeout"] = max(1, round(duration_ns(service["stop_grace_period"]) / 1e9))
    return {key: value for key, value in body.items() if value is not None}


def _environment(service: Mapping[str, Any]) -> list[str]:
    given = service.get("environment") or {}
    # one without a value takes the image's away
    return [key if value is None else f"{key}={value}" for key, value in given.items()]


def _labels(target: DesiredProject, name: str, number: int, image_id: str, digest: str) -> dict[str, str]:
    service = target.services[name]
    depends = ",".join(
        f"{other}:{how.get('condition', 'service_started')}:{str(bool(how.get('restart'))).lower()}"
        for other, how in dependencies(service).items()
    )
    named = {labels.ENVIRONMENT_FILE: ",".join(target.environment_files)} if target.environment_files else {}
    return {
        **{key: str(value) for key, value in (service.get("labels") or {}).items()},
        **named,
        **({labels.CONTENT: content} if (content := content_digest(target, name)) else {}),
        labels.PROJECT: target.name,
        labels.SERVICE: name,
        labels.NUMBER: str(number),
        labels.ONEOFF: "False",
        labels.CONFIG_HASH: digest,
        labels.CONFIG_FILES: ",".join(target.config_files),
        labels.WORKING_DIR: target.working_directory,
        labels.DEPENDS_ON: depends,
        labels.IMAGE: image_id,
        labels.VERSION: COMPOSE_VERSION,
    }


def _exposed(service: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    ports = [str(port) for port in service.get("expose") or ()]
    ports += [f"{port['target']}/{port.get('protocol') or 'tcp'}" for port in service.get("ports") or ()]
    return {port if "/" in port else f"{port}/tcp": {} for port in ports}


def published_ports(service: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the host ports that the service wants, as ports/check takes them; a port the host chooses is left out."""
    return [
        {
            "HostIp": port.get("host_ip") or "",
            "HostPort": str(port["published"]),
            "Protocol": port.get("protocol") or "tcp",
        }
        for port in service.get("ports") or ()
        if port.get("published")
    ]


def _port_bindings(service: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in service.get("ports") or ():
        key = f"{port['target']}/{port.get('protocol') or 'tcp'}"
        binding = {"HostIp": port.get("host_ip") or "", "HostPort": str(port.get("published") or "")}
        found.setdefault(key, []).append(binding)
    return found


def _host_config(target: DesiredProject, service: Mapping[str, Any], container_of: Mapping[str, str]) -> dict[str, Any]:
    limits = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    reservations = ((service.get("deploy") or {}).get("resources") or {}).get("reservations") or {}

    def shared(key: str) -> str:
        donor = shares(service, key)
        kind = {"network_mode": "network", "ipc": "IPC", "pid": "PID"}[key] + " namespace"
        return f"container:{_donor(donor, kind, container_of)}" if donor else service.get(key) or ""

    host: dict[str, Any] = {
        "NetworkMode": shared("network_mode"),
        "PortBindings": _port_bindings(service),
        "RestartPolicy": _restart_policy(service),
        "Privileged": bool(service.get("privileged")),
        "CapAdd": service.get("cap_add"),
        "CapDrop": service.get("cap_drop"),
        "ReadonlyRootfs": bool(service.get("read_only")),
        "Init": service.get("init"),
        "Dns": service.get("dns"),
        "DnsSearch": service.get("dns_search"),
        "DnsOptions": service.get("dns_opt"),
        "ExtraHosts": extra_hosts(service),
        "GroupAdd": [str(group) for group in service.get("group_add") or ()],
        "PidMode": shared("pid"),
        "IpcMode": shared("ipc"),
        "UTSMode": service.get("uts") or "",
        "UsernsMode": service.get("userns_mode") or "",
        "CgroupnsMode": service.get("cgroup") or "",
        "CgroupParent": service.get("cgroup_parent") or "",
        "ShmSize": whole(service.get("shm_size")),
        "Sysctls": {key: str(value) for key, value in (service.get("sysctls") or {}).items()},
        "Tmpfs": _tmpfs(service),
        "Ulimits": ulimits(service),
        "Devices": _devices(service),
        "DeviceCgroupRules": service.get("device_cgroup_rules"),
        "OomKillDisable": bool(service.get("oom_kill_disable")),
        "OomScoreAdj": service.get("oom_score_adj"),
        "Memory": whole(service.get("mem_limit")) or whole(limits.get("memory")),
        "MemoryReservation": whole(service.get("mem_reservation")) or whole(reservations.get("memory")),
        "MemorySwap": whole(service.get("memswap_limit")),
        "MemorySwappiness": whole(service.get("mem_swappiness")),
        "NanoCpus": nano_cpus(service.get("cpus")) or nano_cpus(limits.get("cpus")),
        "CpuShares": whole(service.get("cpu_shares")),
        "CpuQuota": whole(service.get("cpu_quota")),
        "CpuPeriod": whole(service.get("cpu_period")),
        "CpuRealtimePeriod": whole(service.get("cpu_rt_period")),
        "CpuRealtimeRuntime": whole(service.get("cpu_rt_runtime")),
        "CpusetCpus": service.get("cpuset") or "",
        "PidsLimit": service.get("pids_limit") or limits.get("pids"),
        **_block_io(service.get("blkio_config") or {}),
        "LogConfig": _logging(service),
        "Runtime": service.get("runtime") or "",
        "VolumesFrom": _volumes_from(service, container_of),
        "Annotations": service.get("annotations"),
        "StorageOpt": service.get("storage_opt"),
        "DeviceRequests": device_requests(service),
    }
    return {key: value for key, value in host.items() if value not in (None, "", 0, [], {})}


def _block_io(config: Mapping[str, Any]) -> dict[str, Any]:
    rates = {
        "BlkioDeviceReadBps": "device_read_bps",
        "BlkioDeviceWriteBps": "device_write_bps",
        "BlkioDeviceReadIOps": "device_read_iops",
        "BlkioDeviceWriteIOps": "device_write_iops",
    }
    return {
        "BlkioWeight": whole(config.get("weight")),
        "BlkioWeightDevice": [
            {"Path": one["path"], "Weight": whole(one["weight"])} for one in config.get("weight_device") or ()
        ],
        **{
            name: [{"Path": one["path"], "Rate": whole(one["rate"])} for one in config.get(key) or ()]
            for name, key in rates.items()
        },
    }


def _restart_policy(service: Mapping[str, Any]) -> dict[str, Any]:
    policy = (service.get("deploy") or {}).get("restart_policy") or {}
    if policy:  # it goes before `restart`
        name = {"any": "always", "none": "no"}.get(policy.get("condition") or "any", policy.get("condition"))
        return {"Name": name, "MaximumRetryCount": int(policy.get("max_attempts") or 0) if name == "on-failure" else 0}
    text = service.get("restart")
    if text:
        name, _, count = str(text).partition(":")
        return {"Name": name, "MaximumRetryCount": int(count or 0)}
    return {"Name": "no", "MaximumRetryCount": 0}


def extra_hosts(service: Mapping[str, Any]) -> list[str]:
    """Return `extra_hosts` as the engine wants them: name:address."""
    given = service.get("extra_hosts") or ()
    if isinstance(given, Mapping):
        return [
            f"{name}:{one}"
            for name, address in given.items()
            for one in ([address] if isinstance(address, str) else address)
        ]
    return [entry.replace("=", ":", 1) for entry in given]


def _tmpfs(service: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for entry in service.get("tmpfs") or ():
        path, _, options = entry.partition(":")
        found[path] = options
    return found


def ulimits(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return `ulimits` as the engine wants them."""
    found = []
    for name, limit in (service.get("ulimits") or {}).items():
        soft, hard = (limit["soft"], limit["hard"]) if isinstance(limit, Mapping) else (limit, limit)
        found.append({"Name": name, "Soft": int(soft), "Hard": int(hard)})
    return found


def _devices(service: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "PathOnHost": device["source"],
            "PathInContainer": device.get("target") or device["source"],
            "CgroupPermissions": device.get("permissions") or "rwm",
        }
        for device in service.get("devices") or ()
        if isinstance(device, Mapping)
    ]


def _logging(service: Mapping[str, Any]) -> dict[str, Any] | None:
    wanted = service.get("logging")
    if not wanted:
        return None
    return {"Type": wanted.get("driver") or "", "Config": {k: str(v) for k, v in (wanted.get("options") or {}).items()}}


def _volumes_from(service: Mapping[str, Any], container_of: Mapping[str, str]) -> list[str]:
    found = []
    for entry in service.get("volumes_from") or ():
        kind, _, rest = entry.partition(":")
        if kind == "container":
            found.append(rest)
        else:
            found.append(_donor(kind, "volume", container_of) + (f":{rest}" if rest else ""))
    return found


def _donor(service: str, what: str, container_of: Mapping[str, str]) -> str:
    """Return the container of a service that others share something of. Raises SkiffError where it has none."""
    if service not in container_of:
        raise SkiffError(
            f"cannot share {what} with service {service}: container missing",
            f"make it: `skiff up {service}`",
        )
    return container_of[service]


def _mounts(target: DesiredProject, service: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_mount(target, volume) for volume in service.get("volumes") or ()]


def _mount(target: DesiredProject, volume: Mapping[str, Any]) -> dict[str, Any]:
    kind = volume.get("type") or "volume"
    mount: dict[str, Any] = {
        "Type": kind,
        "Source": volume.get("source") or "",
        "Target": volume["target"],
        "ReadOnly": bool(volume.get("read_only")),
    }
    if kind == "volume":
        declared = (target.model.get("volumes") or {}).get(mount["Source"]) or {}
        mount["Source"] = declared.get("name") or mount["Source"]
        options = volume.get("volume") or {}
        mount["VolumeOptions"] = {
            "NoCopy": bool(options.get("nocopy")),
            "Subpath": options.get("subpath") or "",
            "Labels": options.get("labels"),
        }
    elif kind == "bind":
        options = volume.get("bind") or {}
        mount["BindOptions"] = {
            "Propagation": options.get("propagation") or "",
            "CreateMountpoint": options.get("create_host_path", True) is not False,
            "NonRecursive": options.get("recursive") == "disabled",
            "ReadOnlyNonRecursive": options.get("recursive") == "writable",
            "ReadOnlyForceRecursive": options.get("recursive") == "readonly",
        }
    elif kind == "image":
        mount["ImageOptions"] = {"Subpath": (volume.get("image") or {}).get("subpath") or ""}
    elif kind == "tmpfs":
        options = volume.get("tmpfs") or {}
        mount["Source"] = ""
        mount["TmpfsOptions"] = {"SizeBytes": whole(options.get("size")), "Mode": whole(options.get("mode"))}
    return mount


def _healthcheck(check: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not check:
        return None
    if check.get("disable"):
        return {"Test": ["NONE"]}
    test = check.get("test")
    return {
        "Test": ["CMD-SHELL", test] if isinstance(test, str) else test,
        "Interval": duration_ns(check.get("interval")),
        "Timeout": duration_ns(check.get("timeout")),
        "StartPeriod": duration_ns(check.get("start_period")),
        "StartInterval": duration_ns(check.get("start_interval")),
        "Retries": whole(check.get("retries")),
    }


def _networks(
    target: DesiredProject, name: str, service: Mapping[str, Any], container: str
) -> dict[str, dict[str, Any]]:
    if service.get("network_mode"):
        return {}
    wanted = service.get("networks") or {}
    ordered = sorted(wanted.items(), key=lambda item: (-((item[1] or {}).get("priority") or 0), item[0]))
    found = {}
    links = [*(service.get("links") or ()), *(service.get("external_links") or ())]
    for key, how in ordered:
        how = how or {}
        settings: dict[str, Any] = {
            "Aliases": [container, name, *(how.get("aliases") or ())],
            "Links": [link if ":" in link else f"{link}:{link}" for link in links] or None,
            "DriverOpts": how.get("driver_opts"),
            "GwPriority": how.get("gw_priority") or 0,
        }
        if how.get("ipv4_address") or how.get("ipv6_address") or how.get("link_local_ips"):
            settings["IPAMConfig"] = {
                "IPv4Address": how.get("ipv4_address") or "",
                "IPv6Address": how.get("ipv6_address") or "",
                "LinkLocalIPs": how.get("link_local_ips"),
            }
        if how.get("mac_address"):
            settings["MacAddress"] = how["mac_address"]
        found[target.resource_name("networks", key)] = {k: v for k, v in settings.items() if v not in (None, 0)}
    return found
