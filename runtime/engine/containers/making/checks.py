"""Checks of a create request: values that Docker refuses, with its messages. Pure.

Resource limits are checked in `runtime.container.resources`, settings of the process in `runtime.container.spec`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.bodies import ContainerConfig, CreateBody, HostConfig
from runtime.container.logs.options import limits_of
from runtime.engine.containers.making.hosts import HOST_GATEWAY
from runtime.engine.containers.signals import LARGEST_SIDE, signal_number
from runtime.errors import BadRequestError, NotFoundError
from runtime.image.images import Image

MIN_DURATION_NS = 1_000_000
RUNTIMES = ("", "skiff", "runc", "io.containerd.runc.v2")
"""Accepted runtime names: our own, and those in files that were written for Docker."""
ISOLATIONS = ("", "default")
VOLUME_DRIVERS = ("", "local")
DEVICE_ACCESS = re.compile(r"[rwm]{0,3}")
RESTART_POLICIES = ("", "no", "always", "unless-stopped", "on-failure")
PLATFORM = re.compile(r"[a-z0-9_.()-]+(/[a-z0-9_.-]+){0,2}")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
LONGEST_HOST_NAME = 64


def check_config(config: ContainerConfig) -> None:
    """Check a container's own configuration. Raises BadRequestError."""
    directory = config.get("WorkingDir") or ""
    if directory and not directory.startswith("/"):
        raise BadRequestError(f"the working directory '{directory}' is invalid, it needs to be an absolute path")
    name = config.get("Hostname") or ""
    if len(name) > LONGEST_HOST_NAME:
        raise BadRequestError(f"invalid hostname: {name!r} is longer than {LONGEST_HOST_NAME} characters")
    for pair in config.get("Env") or ():
        if not pair or pair.startswith("="):
            raise BadRequestError(f"invalid environment variable: {pair}")
    if config.get("StopSignal"):
        signal_number(config["StopSignal"])
    health = config.get("Healthcheck") or {}
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        if health.get(key) and health[key] < MIN_DURATION_NS:
            raise BadRequestError(f"{key} in Healthcheck cannot be less than 1ms")
    if (health.get("Retries") or 0) < 0:
        raise BadRequestError("Retries in Healthcheck cannot be negative")
    if (config.get("StopTimeout") or 0) < -1:
        raise BadRequestError(f"invalid stop timeout: {config['StopTimeout']}", "-1 waits forever")


def check_console_size(size: Sequence[int] | None) -> None:
    """Check the rows and columns of a terminal. Raises BadRequestError."""
    if size and (len(size) != 2 or not all(0 <= side <= LARGEST_SIDE for side in size)):
        raise BadRequestError(f"invalid console size: {list(size)}", "give rows and columns")


def check_host(host: HostConfig) -> None:
    """Check a HostConfig. Raises BadRequestError."""
    _check_restart_policy(host)
    score = host.get("OomScoreAdj") or 0
    if not -1000 <= score <= 1000:
        raise BadRequestError(f"Invalid value {score}, range for oom score adj is [-1000, 1000]")
    if not 0 <= (host.get("Umask") or 0) <= 0o777:
        raise BadRequestError(f"invalid umask: {host['Umask']}", "it is a number from 0 to 511 (octal 0777)")
    if (host.get("ShmSize") or 0) < 0:
        raise BadRequestError("SHM size can not be less than 0")
    limits_of(host.get("LogConfig"))
    if (host.get("Runtime") or "") not in RUNTIMES:
        raise BadRequestError(
            f"unknown or invalid runtime name: {host['Runtime']}", "omit it: there is only one runtime"
        )
    if "" in (host.get("Annotations") or {}):
        raise BadRequestError("invalid Annotations: the empty string is not permitted as an annotation key")
    if host.get("StorageOpt"):
        raise BadRequestError("--storage-opt is not supported by this storage driver", "omit it")
    for wanted in host.get("DeviceRequests") or ():
        driver, capabilities = wanted.get("Driver") or "", wanted.get("Capabilities") or []
        raise BadRequestError(
            f'could not select device driver "{driver}" with capabilities: {_listed(capabilities)}',
            "device drivers (gpus) are not supported; `devices` passes device nodes",
        )
    if (host.get("Isolation") or "").lower() not in ISOLATIONS:
        raise BadRequestError(f"invalid isolation '{host['Isolation']}' on linux", "omit it")
    check_console_size(host.get("ConsoleSize"))
    _check_volume_drivers(host)
    _check_modes(host)
    _check_names(host)
    _check_required(host)


def _listed(capabilities: Sequence[Sequence[str]]) -> str:
    return "[" + " ".join(f"[{' '.join(one)}]" for one in capabilities) + "]"


def _check_restart_policy(host: HostConfig) -> None:
    policy = host.get("RestartPolicy") or {}
    name, maximum = policy.get("Name") or "", policy.get("MaximumRetryCount") or 0
    if name not in RESTART_POLICIES:
        raise BadRequestError(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'"
        )
    if maximum < 0:
        raise BadRequestError("invalid restart policy: maximum retry count cannot be negative")
    if maximum and name != "on-failure":
        raise BadRequestError("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if host.get("AutoRemove") and name not in ("", "no"):
        raise BadRequestError("can't create 'AutoRemove' container with restart policy")


def _check_volume_drivers(host: HostConfig) -> None:
    drivers = [host.get("VolumeDriver") or ""]
    for mount in host.get("Mounts") or ():
        drivers.append(((mount.get("VolumeOptions") or {}).get("DriverConfig") or {}).get("Name") or "")
    for driver in drivers:
        if driver not in VOLUME_DRIVERS:
            raise BadRequestError(
                f'error looking up volume plugin {driver}: plugin "{driver}" not found', "volumes here are local"
            )


MODES: Mapping[str, tuple[str, ...]] = {
    "PidMode": ("", "host", "container:"),
    "IpcMode": ("", "none", "private", "shareable", "host", "container:"),
    "UTSMode": ("", "host"),
    "UsernsMode": ("", "host"),
    "CgroupnsMode": ("", "private", "host"),
}


def _check_modes(host: Mapping[str, Any]) -> None:
    for key, known in MODES.items():
        mode = host.get(key) or ""
        kind, colon, name = mode.partition(":")
        if (kind + colon) not in known or (colon and not name):
            called = "cgroup namespace" if key == "CgroupnsMode" else key.removesuffix("Mode").upper()
            raise BadRequestError(f"invalid {called} mode: {mode}")
    if host.get("NetworkMode") == "container:":
        raise BadRequestError("invalid container network mode: 'container:' names no container")


def _check_names(host: HostConfig) -> None:
    for server in host.get("Dns") or ():
        try:
            ipaddress.ip_address(server)
        except ValueError:
            raise BadRequestError(f"invalid IP address in dns: {server}") from None
    for entry in host.get("ExtraHosts") or ():
        name, _, address = entry.partition("=" if "=" in entry else ":")
        try:
            usable = bool(name) and (address == HOST_GATEWAY or bool(ipaddress.ip_address(address.strip("[]"))))
        except ValueError:
            usable = False
        if not usable:
            raise BadRequestError(f'bad format for add-host: "{entry}"', 'write "name:address"')


def _check_required(host: HostConfig) -> None:
    for device in host.get("Devices") or ():
        if not device.get("PathOnHost"):
            raise BadRequestError("invalid device: PathOnHost must not be empty")
        if not DEVICE_ACCESS.fullmatch(device.get("CgroupPermissions") or ""):
            raise BadRequestError(f"invalid device mode: {device['CgroupPermissions']}", "give some of r, w and m")
    for limit in host.get("Ulimits") or ():
        soft, hard = limit.get("Soft"), limit.get("Hard", limit.get("Soft"))
        if not limit.get("Name") or soft is None or hard is None:
            raise BadRequestError("invalid ulimit: it needs a name, a soft and a hard limit")
        if hard != -1 and soft > hard:
            raise BadRequestError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")


def check_conflicts(body: CreateBody, host: HostConfig) -> None:
    """Refuse conflicting options, such as ports or DNS settings in another container's network namespace."""
    if host.get("UTSMode") == "host" and body.get("Hostname"):
        raise BadRequestError("conflicting options: hostname and the UTS mode", "omit one of them")
    if not (host.get("NetworkMode") or "").startswith("container:"):
        return
    asked = {
        "port publishing": host.get("PortBindings") or host.get("PublishAllPorts"),
        "hostname": body.get("Hostname"),
        "dns": host.get("Dns"),
        "custom host-to-IP mapping": host.get("ExtraHosts"),
        "mac-address": body.get("MacAddress"),
        "links": host.get("Links"),
    }
    for what, value in asked.items():
        if value:
            raise BadRequestError(
                f"conflicting options: {what} and the container type network mode",
                "set it on the container whose network is shared",
            )


def platform_warnings(image: Image, wanted: str | None, machine: str) -> list[str]:
    """Return a warning if the image's architecture is not that of `machine` and no platform was requested."""
    system, own = image.config.get("os") or "linux", image.config.get("architecture") or ""
    host = ARCHITECTURES.get(machine, machine)
    if wanted or ARCHITECTURES.get(own, own) in ("", host):
        return []
    return [
        f"The requested image's platform ({system}/{own}) does not match the detected host platform (linux/{host}) and no "
        "specific platform was requested"
    ]


def check_platform(image: Image, name: str, wanted: str | None) -> None:
    """Raise NotFoundError if the image is not for the platform `wanted` ("linux/arm64"), as Docker does.

    Raises BadRequestError if `wanted` is not a platform.
    """
    if not wanted:
        return
    if not PLATFORM.fullmatch(wanted.lower()):
        raise BadRequestError(f'"{wanted}" is an invalid OS/architecture/variant', 'write it as "linux/arm64"')
    system, _, rest = wanted.lower().partition("/")
    architecture = rest.partition("/")[0]
    own_system = image.config.get("os") or "linux"
    own = image.config.get("architecture") or ""
    own = ARCHITECTURES.get(own, own)
    if not architecture:  # "arm64" alone
        system, architecture = ("linux", system) if system not in ("linux", "windows") else (system, own)
    architecture = ARCHITECTURES.get(architecture, architecture)
    if system != own_system or architecture != own:
        raise NotFoundError(
            f"image with reference {name} was found but its platform ({own_system}/{own}) does not match the specified "
            f"platform ({wanted})"
        )
