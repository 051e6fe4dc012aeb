"""The canonical model as the reference prints it: which attributes there are, in which order, encoded how. Pure.

The order of the tables is that of the reference's output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compose.loading import encoders as e
from compose.loading.document import Path
from compose.loading.encoders import Encoder, FieldError, encoded_fields
from compose.loading.merging import Model, Report

_FILE = e.entries({**e.texts("source target uid gid"), "mode": e.file_mode})
_OWN_CONTAINER = {"image": e.text, "per_replica": e.flag}
_HOOK = {
    "command": e.command,
    "user": e.text,
    "privileged": e.flag,
    "working_dir": e.text,
    "environment": e.with_equals,
}


def _rules(key: str, encoder: Encoder) -> Encoder:
    """Return the encoder of a list of rules for devices: each has a path and a `key`, also where they are not given."""
    return lambda value: (
        [encoded_fields({"path": "", key: 0, **rule}, {"path": str, key: encoder}) for rule in value] or None
    )


def _hook(value: Model) -> Model:
    """Encode a command to run in a container; it is always there, as a service's is."""
    return {"command": None, **encoded_fields(value, _HOOK)}


def _pre_start_hooks(value: list[Model]) -> list[Model] | None:
    return [{"command": None, **encoded_fields(each, {**_HOOK, **_OWN_CONTAINER})} for each in value] or None


def _hooks(value: list[Model]) -> list[Model] | None:
    return [_hook(each) for each in value] or None


_DEVICES = e.entries(
    {
        "capabilities": e.strings,
        "driver": e.text,
        "count": e.device_count,
        "device_ids": e.strings,
        "options": e.mapping,
    }
)
_BLKIO_LIMIT = _rules("rate", e.byte_count)
_UPDATE = e.mapping_of(
    {
        "parallelism": e.natural,
        "delay": e.delay,
        "failure_action": e.text,
        "monitor": e.delay,
        "max_failure_ratio": e.share,
        "order": e.text,
    }
)
_RESOURCES = {
    "cpus": e.share,
    "memory": e.size,
    "pids": e.count,
    "devices": _DEVICES,
    "generic_resources": e.entries(
        {"discrete_resource_spec": e.mapping_of({"kind": e.text, "value": e.whole}, kind="", value=0)}
    ),
}
_DEPLOY = {
    "mode": e.text,
    "replicas": e.whole,
    "labels": e.mapping,
    "update_config": _UPDATE,
    "rollback_config": _UPDATE,
    "resources": e.mapping_of({"limits": e.mapping_of(_RESOURCES), "reservations": e.mapping_of(_RESOURCES)}),
    "restart_policy": e.mapping_of(
        {"condition": e.text, "delay": e.duration, "max_attempts": e.natural, "window": e.duration}
    ),
    "placement": e.mapping_of(
        {
            "constraints": e.strings,
            "preferences": e.entries({"spread": e.text}),
            "max_replicas_per_node": e.natural_count,
        }
    ),
    "endpoint_mode": e.text,
}
_BUILD = {
    **e.texts("context dockerfile dockerfile_inline"),
    "entitlements": e.strings,
    "args": e.with_equals,
    **e.texts("provenance sbom"),
    "ssh": e.ssh_keys,
    "labels": e.mapping,
    "cache_from": e.strings,
    "cache_to": e.strings,
    "no_cache": e.flag,
    "no_cache_filter": e.strings,
    "additional_contexts": e.mapping,
    "pull": e.flag,
    "extra_hosts": e.hosts,
    **e.texts("isolation network target"),
    "secrets": _FILE,
    "shm_size": e.size,
    "tags": e.strings,
    "ulimits": e.limits,
    "platforms": e.strings,
    "privileged": e.flag,
}
_MOUNT = {
    **e.texts("type source target"),
    "read_only": e.flag,
    "consistency": e.text,
    "bind": e.mapping_of({**e.texts("selinux propagation"), "create_host_path": e.truth, "recursive": e.text}),
    "volume": e.mapping_of({"labels": e.mapping, "nocopy": e.flag, "subpath": e.text}),
    "tmpfs": e.mapping_of({"size": e.size, "mode": e.natural_count}),
    "image": e.mapping_of({"subpath": e.text}),
}
_ATTACHMENT = {
    "aliases": e.strings,
    "driver_opts": e.mapping,
    "gw_priority": e.count,
    **e.texts("interface_name ipv4_address ipv6_address"),
    "link_local_ips": e.strings,
    "mac_address": e.text,
    "priority": e.count,
}
_HEALTH = {
    "test": e.health_test,
    "timeout": e.duration,
    "interval": e.duration,
    "retries": e.natural,
    "start_period": e.duration,
    "start_interval": e.duration,
    "disable": e.flag,
}


def _watch(rules: list[Model]) -> list[Model] | None:
    """Encode what is watched; as in the reference, a command to execute is there also where there is none."""
    return [encoded_fields({**rule, "exec": rule.get("exec") or {}}, _WATCH) for rule in rules] or None


_WATCH = {
    **e.texts("path action target"),
    "exec": _hook,
    "include": e.strings,
    "ignore": e.strings,
    "initial_sync": e.flag,
}
SERVICE: Mapping[str, Encoder] = {
    "profiles": e.strings,
    "annotations": e.mapping,
    "attach": e.truth,
    "build": e.mapping_of(_BUILD),
    "develop": e.mapping_of({"watch": _watch}),
    "blkio_config": e.mapping_of(
        {
            "weight": e.natural_count,
            "weight_device": _rules("weight", e.natural),
            "device_read_bps": _BLKIO_LIMIT,
            "device_read_iops": _BLKIO_LIMIT,
            "device_write_bps": _BLKIO_LIMIT,
            "device_write_iops": _BLKIO_LIMIT,
        }
    ),
    "cap_add": e.strings,
    "cap_drop": e.strings,
    **e.texts("cgroup_parent cgroup"),
    "cpu_count": e.count,
    "cpu_percent": e.share,
    "cpu_period": e.count,
    "cpu_quota": e.count,
    "cpu_rt_period": e.count,
    "cpu_rt_runtime": e.count,
    "cpus": e.share,
    "cpuset": e.text,
    "cpu_shares": e.count,
    "command": e.command,
    "configs": _FILE,
    "container_name": e.text,
    "credential_spec": e.mapping_of(e.texts("config file registry")),
    "depends_on": e.named({"condition": e.text, "restart": e.flag, "required": e.truth}),
    "deploy": e.mapping_of(_DEPLOY, resources={}, placement={}),
    "device_cgroup_rules": e.strings,
    "devices": e.entries(e.texts("source target permissions")),
    "dns": e.strings,
    "dns_opt": e.strings,
    "dns_search": e.strings,
    "domainname": e.text,
    "entrypoint": e.command,
    "provider": e.mapping_of({"type": e.text, "options": e.many_options}),
    "environment": e.with_equals,
    "env_file": e.entries({"path": e.text, "required": e.truth, "format": e.text}),
    "expose": e.strings,
    "extends": e.mapping_of(e.texts("file service")),
    "external_links": e.strings,
    "extra_hosts": e.hosts,
    "group_add": e.strings,
    "gpus": _DEVICES,
    "hostname": e.text,
    "healthcheck": e.mapping_of(_HEALTH),
    "image": e.text,
    "init": e.truth,
    **e.texts("ipc isolation"),
    "labels": e.mapping,
    "label_file": e.strings,
    "links": e.strings,
    "logging": e.mapping_of({"driver": e.text, "options": e.mapping}),
    "mem_limit": e.size,
    "mem_reservation": e.size,
    "memswap_limit": e.size,
    "mem_swappiness": e.size,
    "mac_address": e.text,
    "models": e.named(e.texts("endpoint_var model_var")),
    "network_mode": e.text,
    "networks": e.named(_ATTACHMENT),
    "oom_kill_disable": e.flag,
    "oom_score_adj": e.count,
    "pid": e.text,
    "pids_limit": e.count,
    "platform": e.text,
    "ports": e.entries(
        {**e.texts("name mode host_ip"), "target": e.natural_count, **e.texts("published protocol app_protocol")}
    ),
    "privileged": e.flag,
    "pull_policy": e.text,
    "read_only": e.flag,
    **e.texts("restart runtime"),
    "scale": e.whole,
    "secrets": _FILE,
    "security_opt": e.strings,
    "shm_size": e.size,
    "stdin_open": e.flag,
    "stop_grace_period": e.duration,
    "stop_signal": e.text,
    "storage_opt": e.plain_mapping,
    "sysctls": e.mapping,
    "tmpfs": e.strings,
    "tty": e.flag,
    "ulimits": e.limits,
    "use_api_socket": e.flag,
    **e.texts("user userns_mode uts"),
    "volumes": e.entries(_MOUNT),
    "volumes_from": e.strings,
    "working_dir": e.text,
    "pre_start": _pre_start_hooks,
    "post_start": _hooks,
    "pre_stop": _hooks,
}
_POOL = {**e.texts("subnet gateway ip_range"), "aux_addresses": e.mapping}
_FILE_OBJECT = {
    **e.texts("name file environment content"),
    "external": e.flag,
    "labels": e.mapping,
    "driver": e.text,
    "driver_opts": e.plain_mapping,
    "template_driver": e.text,
}
RESOURCES: Mapping[str, Mapping[str, Encoder]] = {
    "networks": {
        **e.texts("name driver"),
        "driver_opts": e.mapping,
        "ipam": e.mapping_of({"driver": e.text, "config": e.entries(_POOL)}),
        "external": e.flag,
        "internal": e.flag,
        "attachable": e.flag,
        "labels": e.mapping,
        "enable_ipv4": e.truth,
        "enable_ipv6": e.truth,
    },
    "volumes": {**e.texts("name driver"), "driver_opts": e.mapping, "external": e.flag, "labels": e.mapping},
    "configs": _FILE_OBJECT,
    "secrets": {key: encoder for key, encoder in _FILE_OBJECT.items() if key != "content"},
    "models": {**e.texts("name model"), "context_size": e.count, "runtime_flags": e.strings},
}


def encode_service(name: str, service: Model, report: Report) -> Model:
    """Return the printed form of a service; `command` and `entrypoint` are always there."""
    encoded = _reported(service, SERVICE, ("services", name), report)
    found: Model = {}
    for key in SERVICE:
        if key in encoded:
            found[key] = encoded[key]
        elif key in ("command", "entrypoint"):
            found[key] = None
    return found


def encode_resource(section: str, name: str, resource: Model | None, report: Report) -> Model:
    """Return the printed form of a top-level network, volume, config, secret or model."""
    given = resource or {}
    if section == "networks":
        given = {"ipam": {}, **given}
    return _reported(given, RESOURCES[section], (section, name), report)


def _reported(given: Model, fields: Mapping[str, Encoder], at: tuple[str, ...], report: Report) -> Model:
    try:
        return encoded_fields(given, fields)
    except FieldError as error:
        report(str(error), (*at, *error.path))
        return {}


NAMED = ("depends_on", "models", "networks", "ulimits")
OF_TEXTS = frozenset(
    "annotations args additional_contexts aux_addresses driver_opts environment extra_hosts labels options ssh storage_opt "
    "sysctls".split()
)


def nested_extensions(model: Model) -> dict[Path, Any]:
    """Return the extensions (`x-…`) of services and resources by path, of the model before it is encoded."""
    found: dict[Path, Any] = {}

    def walk(node: Any, path: Path, *, has_names: bool) -> None:
        if isinstance(node, list):
            for index, each in enumerate(node):
                walk(each, (*path, index), has_names=False)
        for key, child in node.items() if isinstance(node, dict) else ():
            if key.startswith("x-") and not has_names:
                found[(*path, key)] = child
            elif has_names or key not in OF_TEXTS:
                walk(child, (*path, key), has_names=key in NAMED and not has_names)

    for section in ("services", *RESOURCES):
        walk(model.get(section) or {}, (section,), has_names=True)
    return found
