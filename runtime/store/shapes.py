"""The types of the stored documents, by kind (`runtime.shapes`).

A record whose JSON is valid may still have a member of another type, by a damaged disk or by hand. Checked when it is
read, it costs the one object and not the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.bodies import ContainerConfig, EndpointBody, HostConfig, ImageConfig
from runtime.errors import BadRequestError
from runtime.shapes import fitted, shape_of

_STATE = {
    "status": str, "exit_code": int, "error": str, "oom_killed": bool, "started_at": str, "finished_at": str,
    "restart_count": int, "stopped_by_user": bool, "pid": int,
}  # fmt: skip
STATE = {"state": _STATE, "ports": [{"PrivatePort": int, "Type": str, "IP": str, "PublicPort": int}]}
_SUBNET = {"subnet": str, "gateway": str, "ip_range": str, "reserved": {str: str}, "is_chosen": bool}
LAYER_RECORD = {
    "size": int, "blob": {"mediaType": str, "digest": str, "size": int}, "repositories": [str], "one_user": bool, "archive": int,
}  # fmt: skip
SHAPES: dict[str, Any] = {
    "container": {
        "id": str, "name": str, "image_id": str, "image_name": str, "created": str, "config": shape_of(ContainerConfig),
        "host": shape_of(HostConfig),
        "networks": {str: shape_of(EndpointBody)},
        "mounts": [
            {
                "Type": str, "Destination": str, "RW": bool, "Name": str, "Driver": str, "Source": str, "Mode": str,
                "Propagation": str,
            }
        ],
        **STATE,
    },
    "network": {
        "id": str, "name": str, "driver": str, "created": str, "subnets": [_SUBNET], "options": {str: str},
        "labels": {str: str}, "internal": bool, "enable_ipv6": bool, "attachable": bool, "ipam_driver": str,
        "ipam_options": {str: str}, "template": [_SUBNET], "config_from": str,
    },
    "image": {
        "config": shape_of(ImageConfig), "size": int, "manifest": str, "references": {str: float}, "parent": str,
    },
    "endpoint": {
        "id": str, "network_id": str, "container_id": str, "container_name": str, "host_device": str, "device": str,
        "mac_address": str, "ipv4": str, "ipv6": str, "aliases": [str], "dns_names": [str], "links": [str],
        "driver_opts": {str: str}, "gw_priority": int, "link_local_ips": [str], "dns_servers": [str],
        "dns_options": [str], "position": int,
    },
}  # fmt: skip


def fitting(document: dict[str, Any], shape: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return `document` without nulls, and what does not fit the `shape`, or ""."""
    try:
        return dict(fitted(document, shape)), ""
    except BadRequestError as error:
        return document, str(error).removeprefix("invalid JSON: ")
