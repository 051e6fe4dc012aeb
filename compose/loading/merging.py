"""Merging files and extended services: variables replaced, overrides merged, duplicate entries dropped. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compose.loading.document import Path
from compose.loading.template import Lookup, Mention, TemplateError, substitute
from compose.loading.values import boolean, integer, mount, number, text_of

Model = dict[str, Any]
Report = Callable[[str, Path], None]

_UPDATE = {"parallelism": integer, "max_failure_ratio": number}
_INTEGERS = "cpu_count cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares oom_score_adj pids_limit scale"
_SERVICE: Mapping[str, Any] = {
    **dict.fromkeys(_INTEGERS.split(), integer),
    **dict.fromkeys(("init", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty"), boolean),
    "cpu_percent": number,
    "cpus": number,
    "deploy": {
        "replicas": integer,
        "update_config": _UPDATE,
        "rollback_config": _UPDATE,
        "restart_policy": {"max_attempts": integer},
        "placement": {"max_replicas_per_node": integer},
    },
    "healthcheck": {"retries": integer, "disable": boolean},
    "ports": {"*": {"target": integer}},
    "ulimits": {"*": {"": integer, "hard": integer, "soft": integer}},
    "volumes": {"*": {"read_only": boolean, "volume": {"nocopy": boolean}}},
}
_EXTERNAL = {"external": boolean}
CASTS: Mapping[str, Any] = {
    "services": {"*": _SERVICE},
    "networks": {"*": {**dict.fromkeys(("external", "internal", "attachable", "enable_ipv4", "enable_ipv6"), boolean)}},
    **{section: {"*": _EXTERNAL} for section in ("volumes", "secrets", "configs")},
}
"""The types of values by path: the reference casts texts at these places after it has replaced variables."""


def interpolate(
    value: Any, lookup: Lookup, report: Report, note: Callable[[Mention, Path], None], *, values: bool = True
) -> Any:
    """Return `value` with the variables of every text in it replaced, and texts cast where the model wants no text.

    `report` is called for every problem with its path, `note` for every variable in the text. Without `values`,
    variables and texts stay as they are.
    """

    def walk(node: Any, casts: Any, path: Path) -> Any:
        if isinstance(node, dict):
            known: Mapping[str, Any] = casts if isinstance(casts, Mapping) else {}
            default = known.get("*")
            return {key: walk(child, known.get(key, default), (*path, key)) for key, child in node.items()}
        if isinstance(node, list):
            inner = casts.get("*") if isinstance(casts, Mapping) else None
            return [walk(child, inner, (*path, index)) for index, child in enumerate(node)]
        if not isinstance(node, str):
            return node
        cast = casts.get("") if isinstance(casts, Mapping) else casts
        if not values or ("$" not in node and cast is None):
            return node
        try:
            text = substitute(node, lookup, lambda mention: note(mention, path))
            return cast(text) if cast else text
        except TemplateError as error:
            report(str(error), path)
        except ValueError as error:
            report(str(error), path)
        return node

    return walk(value, CASTS, ())


SEQUENCES = frozenset(
    "annotations dns dns_opt dns_search env_file environment extra_hosts labels sysctls tmpfs label_file".split()
)
BUILD_SEQUENCES = frozenset(("args", "additional_contexts", "extra_hosts", "labels"))


class MergeError(ValueError):
    """Raised for two values that can't be merged, at `path`."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"can't override {'.'.join(str(step) for step in path)}: one is a mapping, the other is not")
        self.path = path


def merge(base: Any, over: Any, path: Path = ()) -> Any:
    """Return `base` overridden by `over`, by the rule of the place (Compose Specification, "Merge")."""
    special = _special(path)
    if special is not None:
        return special(base, over, path)
    if over is None:
        return base
    if isinstance(base, dict):
        if not isinstance(over, dict):
            raise MergeError(path)
        return _mappings(base, over, path)
    if isinstance(base, list):
        if not isinstance(over, list):
            raise MergeError(path)
        return base + over
    return over


def _mappings(base: Model, over: Model, path: Path) -> Model:
    merged = dict(base)
    for key, value in over.items():
        if key in merged:
            merged[key] = merge(merged[key], value, (*path, key))
        else:
            merged[key] = value
    return merged


def _special(path: Path) -> Callable[[Any, Any, Path], Any] | None:
    if len(path) < 3:
        return None
    section, attribute = path[0], path[2]
    if section == "services":
        if len(path) == 3:
            if attribute in ("command", "entrypoint"):
                return _replace
            if attribute in SEQUENCES:
                return _sequences
            return ATTRIBUTES.get(str(attribute))
        if len(path) == 4:
            last = path[3]
            if (attribute == "build" and last in BUILD_SEQUENCES) or (attribute == "deploy" and last == "labels"):
                return _sequences
            if attribute == "healthcheck" and last == "test":
                return _replace
            if attribute == "ulimits":
                return _replace
    elif section in ("networks", "volumes") and len(path) == 3 and attribute == "labels":
        return _sequences
    elif section == "networks" and path[2:] == ("ipam", "config"):
        return _subnets
    return None


def _replace(base: Any, over: Any, path: Path) -> Any:
    return over


def _sequences(base: Any, over: Any, path: Path) -> Any:
    first, second = _as_sequence(base), _as_sequence(over)
    if path[-1] == "extra_hosts":  # a host may have several addresses, but each only once
        return first + [each for each in second if each not in first]
    return first + second


def _as_sequence(value: Any) -> list[Any]:
    if isinstance(value, dict):
        pairs = ((key, each) for key, item in value.items() for each in (item if isinstance(item, list) else [item]))
        return sorted(str(key) if each is None else f"{key}={text_of(each)}" for key, each in pairs)
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, str) else []


def _as_mapping(value: Any, default: Model | None = None) -> Model:
    if isinstance(value, list):
        return {str(key): dict(default) if default else None for key in value}
    return value if isinstance(value, dict) else {}


def _builds(base: Any, over: Any, path: Path) -> Any:
    first, second = ({"context": each} if isinstance(each, str) else _as_mapping(each) for each in (base, over))
    return _mappings(first, second, path)


def _dependencies(base: Any, over: Any, path: Path) -> Any:
    started = {"condition": "service_started", "required": True}
    return _mappings(_as_mapping(base, started), _as_mapping(over, started), path)


def _networks(base: Any, over: Any, path: Path) -> Any:
    return _mappings(_as_mapping(base), _as_mapping(over), path)


def _loggings(base: Any, over: Any, path: Path) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict):
        raise MergeError(path)
    same = "driver" not in base or "driver" not in over or base["driver"] == over["driver"]
    return _mappings(base, over, path) if same else over


def _subnets(base: Any, over: Any, path: Path) -> Any:
    """Merge pools by subnet; as in the reference, pools of `base` count only where each of `over` finds a place."""
    if not (isinstance(base, list) and isinstance(over, list)):
        raise MergeError(path)
    merged: list[Model] = []
    for original in base:
        first = dict(_as_mapping(original))
        for entry in over:
            second = _as_mapping(entry)
            known = [each.get("subnet") for each in merged]
            if second.get("subnet") != first.get("subnet") and second.get("subnet") not in known:
                merged.append(dict(second))
                continue
            first = _mappings(first, second, path)
            if first.get("subnet") in known:
                merged[known.index(first.get("subnet"))] = first
            else:
                merged.append(first)
    return merged


def reset(tree: Any, paths: Sequence[Path]) -> None:
    """Remove, in place, from earlier files what later ones tag `!reset` or `!override` (specification, "Merge")."""
    for path in paths:
        node = tree
        for step in path[:-1]:
            node = node.get(step) if isinstance(node, dict) and isinstance(step, str) else None
        if isinstance(node, dict) and path:
            node.pop(path[-1], None)


ATTRIBUTES: Mapping[str, Callable[[Any, Any, Path], Any]] = {
    "build": _builds,
    "depends_on": _dependencies,
    "logging": _loggings,
    "models": _networks,
    "networks": _networks,
}
KEYED = SEQUENCES - {"env_file", "label_file"} | frozenset(("cap_add", "cap_drop", "links", "profiles"))


def unify(model: Model) -> Model:
    """Drop, in place, the entries of lists that a later entry of the same name, target or path redefines."""
    for service in _mappings_of(model.get("services")):
        for attribute, value in service.items():
            if isinstance(value, list):
                index = _index_of(attribute)
                if index is not None:
                    service[attribute] = _unique(value, index)
        build = service.get("build")
        if isinstance(build, dict):
            for attribute in ("args", "additional_contexts", "tags", "labels"):
                if isinstance(build.get(attribute), list):
                    build[attribute] = _unique(build[attribute], _name)
        deploy = service.get("deploy")
        if isinstance(deploy, dict) and isinstance(deploy.get("labels"), list):
            deploy["labels"] = _unique(deploy["labels"], _name)
        networks = service.get("networks")
        for network in _mappings_of(networks):
            for attribute in ("aliases", "link_local_ips"):
                if isinstance(network.get(attribute), list):
                    network[attribute] = _unique(network[attribute], _name)
    for network in _mappings_of(model.get("networks")):
        if isinstance(network.get("labels"), list):
            network["labels"] = _unique(network["labels"], _name)
    return model


def _mappings_of(section: Any) -> list[Model]:
    return [each for each in section.values() if isinstance(each, dict)] if isinstance(section, dict) else []


def _index_of(attribute: str) -> Callable[[Any], Any] | None:
    if attribute == "extra_hosts":
        return None
    if attribute in KEYED:
        return _name
    return {
        "volumes": _volume,
        "devices": _device,
        "configs": lambda entry: _file_mount(entry, ""),
        "secrets": lambda entry: _file_mount(entry, "/run/secrets"),
        "env_file": lambda entry: entry.get("path") if isinstance(entry, dict) else entry,
        "expose": text_of,
        "ports": _port,
    }.get(attribute)


def _unique(entries: list[Any], index: Callable[[Any], Any]) -> list[Any]:
    found: dict[Any, Any] = {}
    for entry in entries:
        key = index(entry)
        found[key if key.__hash__ else repr(key)] = entry
    return list(found.values())


def _name(entry: Any) -> Any:
    return entry.partition("=")[0] if isinstance(entry, str) else repr(entry)


def _volume(entry: Any) -> Any:
    if isinstance(entry, dict):
        return entry.get("target")
    try:
        return mount(entry)["target"] if isinstance(entry, str) else repr(entry)
    except ValueError:
        return entry


def _device(entry: Any) -> Any:
    if isinstance(entry, dict):
        return entry.get("target") or entry.get("source")
    parts = str(entry).split(":")
    return parts[1] if len(parts) > 1 else parts[0]


def _file_mount(entry: Any, folder: str) -> Any:
    if isinstance(entry, dict):
        return entry.get("target") or f"{folder}/{entry.get('source')}"
    return f"{folder}/{entry}"


def _port(entry: Any) -> Any:
    if isinstance(entry, dict):
        host, protocol = entry.get("host_ip", "0.0.0.0"), entry.get("protocol", "tcp")
        return f"{host}:{entry.get('published')!r}:{entry.get('target')}/{protocol}"
    return str(entry)
