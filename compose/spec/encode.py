"""The canonical model as `config --format json` prints it: types made sure of, empty attributes left out. Pure.

Encoders take a value and return its printed form, or None where the attribute is left out; they raise ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compose.spec.merging import Report, Tree
from compose.spec.values import (
    boolean,
    duration_ns,
    duration_text,
    integer,
    number,
    shell_words,
    single,
    size_bytes,
    text_of,
)

Encoder = Callable[[Any], Any]


def _text(value: Any) -> Any:
    return text_of(value) or None


def _flag(value: Any) -> Any:
    return _truth(value) or None


def _truth(value: Any) -> Any:
    return boolean(value) if isinstance(value, str) else value


def _integer(value: Any) -> Any:
    if isinstance(value, str):
        return integer(value)
    if isinstance(value, float):
        return int(value)  # the reference cuts fractions off
    return value


def _count(value: Any) -> Any:
    return _integer(value) or None


def _natural(value: Any) -> Any:
    if isinstance(value, str) or value < 0:
        raise ValueError(f"{_shown(value)} is not a whole number from 0 on")
    return int(value)


def _natural_count(value: Any) -> Any:
    return _natural(value) or None


def _shown(value: Any) -> str:
    return f'the text "{value}"' if isinstance(value, str) else text_of(value)


def _number(value: Any) -> Any:
    """Return a number as the reference keeps it, in single precision; whole ones without a fraction."""
    rounded = single(number(value) if isinstance(value, str) else value)
    return int(rounded) if rounded.is_integer() else rounded


def _share(value: Any) -> Any:
    return _number(value) or None


def _size(value: Any) -> Any:
    size = _bytes(value)
    return None if size == "0" else size


def _bytes(value: Any) -> Any:
    # the reference takes a size with a fraction and no unit, written as a number, for none
    return "0" if isinstance(value, float) else str(size_bytes(value))


def _duration(value: Any) -> Any:
    return duration_text(duration_ns(value)) if isinstance(value, str) else value


def _delay(value: Any) -> Any:
    text = _duration(value)
    return None if text == "0s" else text


def _mode(value: Any) -> Any:
    if isinstance(value, str) and value and not set(value) - set("01234567"):
        value = int(value, 8)
    if not isinstance(value, int):
        raise ValueError(f"{_shown(value)} is not a file mode: write it as 0440")
    return f"0{value:o}"


def _strings(value: Any) -> Any:
    return [text_of(each) for each in ([value] if isinstance(value, str) else value or ())] or None


def _mapping(value: Any) -> Any:
    if isinstance(value, list):
        return {key: item for key, _, item in (str(each).partition("=") for each in value)} or None
    return {key: text_of(item) for key, item in (value or {}).items()} or None


def _with_equals(value: Any) -> Any:
    if isinstance(value, list):
        pairs = (str(each).partition("=") for each in value)
        return {key: item if equals else None for key, equals, item in pairs} or None
    return {key: None if item is None else text_of(item) for key, item in (value or {}).items()} or None


def _command(value: Any) -> Any:
    return shell_words(value) if isinstance(value, str) else value


def _test(value: Any) -> Any:
    return ["CMD-SHELL", value] if isinstance(value, str) else value


def _hosts(value: Any) -> Any:
    found: list[tuple[str, str]] = []
    for host, addresses in value.items() if isinstance(value, dict) else ():
        found += [(host, text_of(each)) for each in (addresses if isinstance(addresses, list) else [addresses])]
    for each in value if isinstance(value, list) else ():
        host, equals, addresses = each.partition("=")
        if not equals:
            host, equals, addresses = each.partition(":")
        if not equals:
            raise ValueError(f'"{each}" is no host and address: write it as host=address')
        found += [(host, address) for address in addresses.split(",")]
    for host, _ in found:
        if not host or ":" in host or "=" in host:
            raise ValueError(f'"{host}" is no name of a host')
    return sorted(f"{host}={_without_brackets(address)}" for host, address in found) or None


def _without_brackets(address: str) -> str:
    return address[1:-1] if len(address) > 2 and address[0] == "[" and address[-1] == "]" else address


def _limits(value: Any) -> Any:
    found: Tree = {}
    for name, limit in (value or {}).items():
        if isinstance(limit, dict):
            found[name] = {key: one for key in ("hard", "soft") if (one := _integer(limit.get(key)))}
        else:
            found[name] = _integer(limit) or {}
    return found or None


def _ssh(value: Any) -> Any:
    return [f"{key}: {path}" if path else key for key, path in (value or {}).items()] or None


def _devices_count(value: Any) -> Any:
    return -1 if isinstance(value, str) and value.lower() == "all" else _count(value)


def _each(fields: Mapping[str, Encoder]) -> Encoder:
    return lambda value: [_fields(entry, fields) for entry in value or ()] or None


def _of(fields: Mapping[str, Encoder]) -> Encoder:
    return lambda value: None if value is None else _fields(value, fields)


def _named(fields: Mapping[str, Encoder]) -> Encoder:
    return lambda value: (
        {key: None if each is None else _fields(each, fields) for key, each in (value or {}).items()} or None
    )


def _device_rule(key: str, encoder: Encoder) -> Encoder:
    """Return the encoder of a list of rules for devices; the reference prints these, and only these, capitalized."""

    def rules(value: Any) -> Any:
        found = []
        for rule in value or ():
            given = _fields({key: 0, **rule}, {"path": text_of, key: encoder})
            found.append({name.capitalize(): one for name, one in given.items()})
        return found or None

    return rules


class FieldError(ValueError):
    """A value that an encoder refused; `path` is its way from the encoded mapping."""

    def __init__(self, message: str, path: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.path = path


def _fields(given: Any, fields: Mapping[str, Encoder]) -> Tree:
    found: Tree = {}
    for key, value in given.items():
        encoder = fields.get(key)
        if encoder is None or value is None:
            continue
        try:
            encoded = encoder(value)
        except FieldError as error:
            raise FieldError(str(error), (key, *error.path)) from None
        except ValueError as error:
            raise FieldError(str(error), (key,)) from None
        except TypeError:
            raise FieldError(f"{text_of(value)} is of the wrong type", (key,)) from None
        if encoded is not None:
            found[key] = encoded
    return found


def _texts(names: str) -> dict[str, Encoder]:
    return dict.fromkeys(names.split(), _text)


_FILE = _each({**_texts("source target uid gid"), "mode": _mode})
_HOOK = {
    "command": _command,
    **_texts("user working_dir"),
    "privileged": _flag,
    "environment": _with_equals,
}
_DEVICES = _each(
    {
        "capabilities": _strings,
        "driver": _text,
        "count": _devices_count,
        "device_ids": _strings,
        "options": _mapping,
    }
)
_BLKIO_LIMIT = _device_rule("rate", _bytes)
_UPDATE = {
    "parallelism": _natural,
    "delay": _delay,
    "failure_action": _text,
    "monitor": _delay,
    "max_failure_ratio": _share,
    "order": _text,
}
_LIMITS = {"cpus": _share, "memory": _size, "pids": _count, "devices": _DEVICES}
_DEPLOY = {
    **_texts("mode endpoint_mode"),
    "replicas": _integer,
    "labels": _mapping,
    "update_config": _of(_UPDATE),
    "rollback_config": _of(_UPDATE),
    "resources": _of(
        {
            "limits": _of(_LIMITS),
            "reservations": _of(
                {
                    **_LIMITS,
                    "generic_resources": _each(
                        {"discrete_resource_spec": _of({"kind": text_of, "value": _integer})},
                    ),
                }
            ),
        }
    ),
    "restart_policy": _of({"condition": _text, "delay": _duration, "max_attempts": _natural, "window": _duration}),
    "placement": _of(
        {"constraints": _strings, "preferences": _each({"spread": _text}), "max_replicas_per_node": _natural_count}
    ),
}
_BUILD = {
    **_texts("context dockerfile dockerfile_inline network target isolation"),
    "entitlements": _strings,
    "args": _with_equals,
    "provenance": _text,
    "sbom": _text,
    "ssh": _ssh,
    "labels": _mapping,
    "cache_from": _strings,
    "cache_to": _strings,
    "no_cache": _flag,
    "additional_contexts": _mapping,
    "pull": _flag,
    "extra_hosts": _hosts,
    "privileged": _flag,
    "platforms": _strings,
    "tags": _strings,
    "secrets": _FILE,
    "shm_size": _size,
    "ulimits": _limits,
}
_MOUNT = {
    **_texts("type source target consistency"),
    "read_only": _flag,
    "bind": _of({**_texts("selinux propagation recursive"), "create_host_path": _truth}),
    "volume": _of({"labels": _mapping, "nocopy": _flag, "subpath": _text}),
    "tmpfs": _of({"size": _size, "mode": _natural_count}),
    "image": _of({"subpath": _text}),
}
_ATTACHMENT = {
    "aliases": _strings,
    "driver_opts": _mapping,
    "gw_priority": _count,
    **_texts("interface_name ipv4_address ipv6_address mac_address"),
    "link_local_ips": _strings,
    "priority": _count,
}
SERVICE: Mapping[str, Encoder] = {
    **_texts(
        "cgroup cgroup_parent container_name cpuset domainname hostname image ipc isolation mac_address "
        "network_mode pid platform pull_policy restart runtime stop_signal user userns_mode uts working_dir"
    ),
    **dict.fromkeys(("oom_kill_disable", "privileged", "read_only", "stdin_open", "tty", "use_api_socket"), _flag),
    **dict.fromkeys(("mem_limit", "mem_reservation", "memswap_limit", "mem_swappiness", "shm_size"), _size),
    **dict.fromkeys(
        ("cpu_count", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "oom_score_adj"),
        _count,
    ),
    **dict.fromkeys(("cpu_percent", "cpus"), _share),
    **dict.fromkeys(
        (
            "cap_add cap_drop device_cgroup_rules dns dns_opt dns_search expose external_links group_add links profiles "
            "security_opt tmpfs volumes_from"
        ).split(),
        _strings,
    ),
    **dict.fromkeys(("annotations", "labels", "storage_opt", "sysctls"), _mapping),
    "attach": _truth,
    "blkio_config": _of(
        {
            **dict.fromkeys(
                ("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops"), _BLKIO_LIMIT
            ),
            "weight": _natural_count,
            "weight_device": _device_rule("weight", _natural),
        }
    ),
    "build": _of(_BUILD),
    "command": _command,
    "configs": _FILE,
    "credential_spec": _of(_texts("config file registry")),
    "depends_on": _named({"condition": _text, "restart": _flag, "required": _truth}),
    "deploy": _of(_DEPLOY),
    "develop": _of(
        {
            "watch": _each(
                {
                    **_texts("path action target"),
                    "exec": _of(_HOOK),
                    "ignore": _strings,
                    "include": _strings,
                    "initial_sync": _flag,
                }
            )
        }
    ),
    "devices": _each(_texts("source target permissions")),
    "entrypoint": _command,
    "env_file": _each({"path": _text, "required": _truth, "format": _text}),
    "environment": _with_equals,
    "extends": _of(_texts("service file")),
    "extra_hosts": _hosts,
    "gpus": _DEVICES,
    "healthcheck": _of(
        {
            "test": _test,
            **dict.fromkeys(("interval", "timeout", "start_period", "start_interval"), _duration),
            "retries": _natural,
            "disable": _flag,
        }
    ),
    "init": _truth,
    "label_file": _strings,
    "logging": _of({"driver": _text, "options": _mapping}),
    "models": _named(_texts("endpoint_var model_var")),
    "networks": _named(_ATTACHMENT),
    "pids_limit": _count,
    "ports": _each({**_texts("name mode host_ip published protocol app_protocol"), "target": _natural_count}),
    "post_start": _each(_HOOK),
    "pre_stop": _each(_HOOK),
    "provider": _of(
        {
            "type": _text,
            "options": lambda value: {k: _strings(v if isinstance(v, list) else [v]) for k, v in value.items()},
        }
    ),
    "scale": _integer,
    "secrets": _FILE,
    "stop_grace_period": _duration,
    "ulimits": _limits,
    "volumes": _each(_MOUNT),
}
_FILE_OBJECT = {
    **_texts("name file environment content driver template_driver"),
    "external": _flag,
    "labels": _mapping,
    "driver_opts": _mapping,
}
RESOURCES: Mapping[str, Mapping[str, Encoder]] = {
    "networks": {
        **_texts("name driver"),
        "driver_opts": _mapping,
        "ipam": _of(
            {
                "driver": _text,
                "config": _each({**_texts("subnet gateway ip_range"), "aux_addresses": _mapping}),
            }
        ),
        "external": _flag,
        "internal": _flag,
        "attachable": _flag,
        "labels": _mapping,
        "enable_ipv4": _truth,
        "enable_ipv6": _truth,
    },
    "volumes": {**_texts("name driver"), "driver_opts": _mapping, "external": _flag, "labels": _mapping},
    "configs": _FILE_OBJECT,
    "secrets": {key: encoder for key, encoder in _FILE_OBJECT.items() if key != "content"},
    "models": {**_texts("name model"), "context_size": _count, "runtime_flags": _strings},
}


def encode_service(name: str, service: Tree, report: Report) -> Tree:
    """Return the printed form of a service; `command` and `entrypoint` are always there."""
    encoded: Tree = {"command": None, "entrypoint": None}
    encoded.update(_reported(service, SERVICE, ("services", name), report))
    return dict(sorted(encoded.items()))


def encode_resource(section: str, name: str, resource: Tree | None, report: Report) -> Tree:
    """Return the printed form of a top-level network, volume, config, secret or model."""
    encoded = _reported(resource or {}, RESOURCES[section], (section, name), report)
    if "environment" in encoded:
        encoded.pop("content", None)  # it is that of the environment
    if section == "networks":
        encoded.setdefault("ipam", {})
    return dict(sorted(encoded.items()))


def _reported(given: Tree, fields: Mapping[str, Encoder], at: tuple[str, ...], report: Report) -> Tree:
    try:
        return _fields(given, fields)
    except FieldError as error:
        report(str(error), (*at, *error.path))
        return {}


def printed(model: Any) -> Any:
    """Return the model as JSON shows it: as the reference, without a `create_host_path` that is false."""
    if isinstance(model, dict):
        return {
            key: printed(value) for key, value in model.items() if not (key == "create_host_path" and value is False)
        }
    return [printed(each) for each in model] if isinstance(model, list) else model
