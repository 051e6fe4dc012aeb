"""The types of JSON documents in requests and records, and the check of a document against them. Pure.

A shape is a class (`str`, `int`, `bool`, `float`), a list with the shape of its items, a dict of members by name, or a
dict with `str` as its only key for arbitrary names. Unknown members are not checked. null means "not given": such members
are removed. Names of members are case-insensitive, as in Docker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runtime.errors import BadRequestError

KINDS: Mapping[type, str] = {str: "a string", int: "a whole number", bool: "true or false", float: "a number"}
WORDS = "a string or an array of strings"
LARGEST = 1 << 63
UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""NUL, which ends a string in the kernel, and single surrogates, which have no encoding."""

ENDPOINT = {
    "Aliases": [str],
    "DriverOpts": {str: str},
    "GwPriority": int,
    "IPAMConfig": {"IPv4Address": str, "IPv6Address": str, "LinkLocalIPs": [str]},
    "Links": [str],
    "MacAddress": str,
}
HEALTH = {
    "Test": [str], "Interval": int, "Timeout": int, "Retries": int, "StartPeriod": int, "StartInterval": int,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "Hostname": str, "Domainname": str, "User": str, "AttachStdin": bool, "AttachStdout": bool, "AttachStderr": bool,
    "ExposedPorts": {str: {}}, "Tty": bool, "OpenStdin": bool, "StdinOnce": bool, "Env": [str], "Cmd": WORDS,
    "Entrypoint": WORDS, "Healthcheck": HEALTH, "Image": str, "Volumes": {str: {}}, "WorkingDir": str,
    "NetworkDisabled": bool, "MacAddress": str, "OnBuild": [str], "Labels": {str: str}, "StopSignal": str,
    "StopTimeout": int, "Shell": [str],
}  # fmt: skip
IMAGE: dict[str, Any] = {
    "architecture": str, "os": str, "variant": str, "created": str, "author": str, "config": CONFIG,
    "rootfs": {"type": str, "diff_ids": [str]},
    "history": [{"created": str, "created_by": str, "comment": str, "author": str, "empty_layer": bool}],
}  # fmt: skip
"""An image's configuration (OCI image configuration, "Properties")."""
MOUNT = {
    "Target": str, "Source": str, "Type": str, "ReadOnly": bool, "Consistency": str,
    "BindOptions": {"Propagation": str, "NonRecursive": bool, "CreateMountpoint": bool},
    "VolumeOptions": {
        "NoCopy": bool, "Labels": {str: str}, "DriverConfig": {"Name": str, "Options": {str: str}}, "Subpath": str,
    },
    "TmpfsOptions": {"SizeBytes": int, "Mode": int},
}  # fmt: skip
RESOURCES: dict[str, Any] = {
    "CpuShares": int, "Memory": int, "CgroupParent": str, "BlkioWeight": int, "CpuPeriod": int, "CpuQuota": int,
    "CpuRealtimePeriod": int, "CpuRealtimeRuntime": int, "CpusetCpus": str, "CpusetMems": str, "NanoCpus": int,
    "Devices": [{"PathOnHost": str, "PathInContainer": str, "CgroupPermissions": str}], "DeviceCgroupRules": [str],
    "DeviceRequests": [
        {"Driver": str, "Count": int, "DeviceIDs": [str], "Capabilities": [[str]], "Options": {str: str}}
    ],
    "BlkioWeightDevice": [{"Path": str, "Weight": int}], "BlkioDeviceReadBps": [{"Path": str, "Rate": int}],
    "BlkioDeviceWriteBps": [{"Path": str, "Rate": int}], "BlkioDeviceReadIOps": [{"Path": str, "Rate": int}],
    "BlkioDeviceWriteIOps": [{"Path": str, "Rate": int}],
    "MemoryReservation": int, "MemorySwap": int, "MemorySwappiness": int, "OomKillDisable": bool, "PidsLimit": int,
    "Ulimits": [{"Name": str, "Soft": int, "Hard": int}],
    "RestartPolicy": {"Name": str, "MaximumRetryCount": int},
}  # fmt: skip
HOST: dict[str, Any] = {
    **RESOURCES,
    "Binds": [str], "ContainerIDFile": str, "LogConfig": {"Type": str, "Config": {str: str}}, "NetworkMode": str,
    "PortBindings": {str: [{"HostIp": str, "HostPort": str}]}, "AutoRemove": bool, "VolumeDriver": str,
    "VolumesFrom": [str], "Mounts": [MOUNT], "ConsoleSize": [int], "Annotations": {str: str}, "CapAdd": [str],
    "CapDrop": [str], "CgroupnsMode": str, "Dns": [str], "DnsOptions": [str], "DnsSearch": [str], "ExtraHosts": [str],
    "GroupAdd": [str], "IpcMode": str, "Links": [str], "OomScoreAdj": int, "PidMode": str, "Privileged": bool,
    "PublishAllPorts": bool, "ReadonlyRootfs": bool, "SecurityOpt": [str], "StorageOpt": {str: str},
    "Tmpfs": {str: str}, "UTSMode": str, "UsernsMode": str, "ShmSize": int, "Sysctls": {str: str}, "Runtime": str,
    "Isolation": str, "MaskedPaths": [str], "ReadonlyPaths": [str], "Init": bool,
}  # fmt: skip
CONTAINER = {**CONFIG, "HostConfig": HOST, "NetworkingConfig": {"EndpointsConfig": {str: ENDPOINT}}}
UPDATE = RESOURCES
EXEC = {
    "AttachStdin": bool, "AttachStdout": bool, "AttachStderr": bool, "ConsoleSize": [int], "DetachKeys": str,
    "Tty": bool, "Env": [str], "Cmd": [str], "Privileged": bool, "User": str, "WorkingDir": str,
}  # fmt: skip
EXEC_START = {"Detach": bool, "Tty": bool, "ConsoleSize": [int]}
NETWORK = {
    "Name": str, "Driver": str, "Scope": str, "Internal": bool, "Attachable": bool, "Ingress": bool,
    "ConfigOnly": bool, "ConfigFrom": {"Network": str},
    "EnableIPv4": bool, "EnableIPv6": bool, "Options": {str: str}, "Labels": {str: str},
    "IPAM": {
        "Driver": str, "Options": {str: str},
        "Config": [{"Subnet": str, "IPRange": str, "Gateway": str, "AuxiliaryAddresses": {str: str}}],
    },
}  # fmt: skip
CONNECT = {"Container": str, "EndpointConfig": ENDPOINT}
DISCONNECT = {"Container": str, "Force": bool}
VOLUME = {"Name": str, "Driver": str, "DriverOpts": {str: str}, "Labels": {str: str}}
AUTHENTICATION = {"username": str, "password": str, "email": str, "serveraddress": str, "identitytoken": str}
ARTIFACT = {"mediaType": str, "manifest": str, "blobs": {str: str}}
PORTS_CHECK = {"bindings": [{"HostIp": str, "HostPort": str, "Protocol": str}]}


def fitted(document: Any, shape: Any, place: str = "") -> Any:
    """Check `document` against `shape`; return it with strings for WORDS as arrays, without nulls. Raises BadRequestError."""
    if document is None:
        return None
    if shape is WORDS:
        return fitted([document] if isinstance(document, str) else document, [str], place)
    if isinstance(shape, list):
        if not isinstance(document, list):
            raise _misfit(document, "an array", place)
        return [fitted(one, shape[0], f"{place}[{number}]") for number, one in enumerate(document) if one is not None]
    if isinstance(shape, dict):
        if not isinstance(document, dict):
            raise _misfit(document, "an object", place)
        if str in shape:
            return {key: fitted(value, shape[str], _inner(place, key)) for key, value in document.items()}
        names = {str(name).lower(): str(name) for name in shape}
        found: dict[str, Any] = {}
        for key, value in document.items():
            name = str(key if key in shape else names.get(key.lower(), key))
            if name not in shape:
                found[name] = value
            elif value is not None:
                found[name] = fitted(value, shape[name], _inner(place, name))
        return found
    is_kind = isinstance(document, int | float) if shape is float else isinstance(document, shape)
    if not is_kind or (isinstance(document, bool) and shape is not bool):
        raise _misfit(document, KINDS[shape], place)
    if shape is int and not -LARGEST <= document < LARGEST:
        raise BadRequestError(f"invalid JSON: {place} is out of range: {document}")
    if shape is str and ("\0" in document or not document.isascii()) and (match := UNUSABLE.search(document)):
        raise BadRequestError(f"invalid JSON: {place} contains the invalid character {match[0]!r}")
    return document


def _inner(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _misfit(document: Any, wanted: str, place: str) -> BadRequestError:
    names = {
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "an array",
        dict: "an object",
    }
    return BadRequestError(f"invalid JSON: {place or 'the body'} must be {wanted}, not {names[type(document)]}")
