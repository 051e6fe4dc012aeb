"""The digests by which a container, network or volume is known to be made of what the files say. Pure.

They are docker compose's, to the byte, so that either takes over what the other has made: SHA-256 of the JSON that Go's
encoder writes of the object (compose-go, types; docker compose, pkg/compose/hash.go).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from compose.go_json import go_json

NOT_HASHED = ("build", "pull_policy", "scale", "depends_on", "profiles")
"""Attributes that do not change what a container is made of."""
ORDER = (
    "annotations attach develop blkio_config cap_add cap_drop cgroup_parent cgroup cpu_count cpu_percent cpu_period "
    "cpu_quota cpu_rt_period cpu_rt_runtime cpus cpuset cpu_shares command configs container_name credential_spec deploy "
    "device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint provider environment env_file expose extends "
    "external_links extra_hosts group_add gpus hostname healthcheck image init ipc isolation labels label_file links "
    "logging mem_limit mem_reservation memswap_limit mem_swappiness mac_address models network_mode networks "
    "oom_kill_disable oom_score_adj pid pids_limit platform ports privileged read_only restart runtime secrets security_opt "
    "shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode "
    "uts volumes volumes_from working_dir pre_start post_start pre_stop"
).split()
"""The order of a service's attributes in what is hashed; others follow by name."""


def service_digest(service: Mapping[str, Any]) -> str:
    """Return the digest of a service of the canonical model: a container of the same digest need not be recreated."""
    return _digest(_hashed(service))


def former_service_digests(service: Mapping[str, Any]) -> set[str]:
    """Return other digests that containers of a service may have: docker compose's of 2.40, where they differ.

    With `label_file`, that of the service without it as well: it is what `config --hash` prints, and what earlier versions
    of Skiff gave to containers.
    """
    documents = [service]
    if service.get("label_file"):
        documents.append({key: value for key, value in service.items() if key != "label_file"})
    found = {_digest(_hashed(one, is_former=is_former)) for one in documents for is_former in (True, False)}
    return found - {service_digest(service)}


def network_digest(declared: Mapping[str, Any]) -> str:
    """Return the digest of a network of the canonical model."""
    return _digest(declared)


def volume_digest(declared: Mapping[str, Any]) -> str:
    """Return the digest of a volume of the canonical model; one without a driver has the engine's own."""
    named = {"name": declared["name"]} if declared.get("name") else {}
    return _digest({**named, "driver": "local", **declared})


def as_json(service: Mapping[str, Any]) -> dict[str, Any]:
    """Return a service of the canonical model as JSON has it where that is not what YAML has: names and zeros."""
    found = dict(service)
    if found.get("blkio_config"):
        found["blkio_config"] = {
            key: [{name.capitalize(): value for name, value in rule.items()} for rule in rules]
            if isinstance(rules, list)
            else rules
            for key, rules in found["blkio_config"].items()
        }
    if found.get("ulimits"):
        found["ulimits"] = {
            name: {key: value for key, value in pair.items() if value} if isinstance(pair, Mapping) else pair
            for name, pair in found["ulimits"].items()
        }
    if found.get("build"):
        found["build"] = as_json(found["build"])
    return found


def _hashed(service: Mapping[str, Any], *, is_former: bool = False) -> dict[str, Any]:
    """Return what of a service counts, in order; `command` and `entrypoint` are always there."""
    given = {"command": None, "entrypoint": None, **service}
    if isinstance(given.get("deploy"), Mapping):
        given["deploy"] = {key: value for key, value in given["deploy"].items() if key != "replicas"}
    if given.get("env_file"):
        given["env_file"] = [_env_file(file, is_former) for file in given["env_file"]]
    given = as_json(given)
    if given.get("volumes"):
        given["volumes"] = [_mount(volume, is_former) for volume in given["volumes"]]
    found = {key: given[key] for key in ORDER if key in given}
    rest = sorted(given.keys() - found.keys() - set(NOT_HASHED))
    return {**found, **{key: given[key] for key in rest}}


def _env_file(file: Mapping[str, Any], is_former: bool) -> Mapping[str, Any] | str:
    if file.get("required", True) is not True:
        return file
    return str(file["path"]) if is_former else {key: value for key, value in file.items() if key != "required"}


def _mount(volume: Mapping[str, Any], is_former: bool) -> Mapping[str, Any]:
    """Return a mount without a `create_host_path` that is the default: false in former versions, true now."""
    bind = volume.get("bind")
    if bind is None or bind.get("create_host_path") is not (not is_former):
        return volume
    return {**volume, "bind": {key: value for key, value in bind.items() if key != "create_host_path"}}


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(go_json(value).encode("utf-8", "surrogatepass")).hexdigest()
