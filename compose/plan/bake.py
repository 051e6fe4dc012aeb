"""The builds of a project as a bake file, which `build --print` shows (buildx, "Bake file reference"). Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compose.plan.container_body import extra_hosts, ulimits
from compose.plan.project import PROJECT, SERVICE, DesiredProject, image_name
from compose.plan.values import whole


def bake_file(
    target: DesiredProject,
    names: Sequence[str],
    *,
    arguments: Mapping[str, str | None],
    ssh: Sequence[str] = (),
    pull: bool = False,
    no_cache: bool = False,
    push: bool = False,
) -> dict[str, Any]:
    """Return the bake file of all services that have a build; those of `names` are its default group."""
    aliases = _aliases(target.services)
    built = [name for name, service in target.services.items() if service.get("build")]
    targets = {}
    for name in built:
        build = target.services[name]["build"]
        entry = {
            "context": build.get("context"),
            "contexts": {
                key: f"target:{aliases[value[8:]]}" if value.startswith("service:") and value[8:] in aliases else value
                for key, value in (build.get("additional_contexts") or {}).items()
            },
            "dockerfile": _dockerfile(build),
            "dockerfile-inline": _literal(build.get("dockerfile_inline")),
            "args": {
                key: _literal(value)
                for key, value in {**(build.get("args") or {}), **arguments}.items()
                if value is not None
            },
            "labels": {**(build.get("labels") or {}), PROJECT: target.name, SERVICE: name},
            "tags": [*(build.get("tags") or ()), image_name(target, name)],
            "cache-from": build.get("cache_from"),
            "cache-to": build.get("cache_to"),
            "target": build.get("target"),
            "secret": [_secret(target, use) for use in build.get("secrets") or ()],
            "ssh": [*_pairs(build.get("ssh")), *ssh],
            "platforms": build.get("platforms"),
            "pull": bool(build.get("pull")) or pull,
            "no-cache": bool(build.get("no_cache")) or no_cache,
            "network": build.get("network"),
            "no-cache-filter": build.get("no_cache_filter"),
            "shm-size": whole(build.get("shm_size")),
            "ulimits": [f"{one['Name']}={one['Soft']}:{one['Hard']}" for one in ulimits(build)],
            "entitlements": _entitlements(build),
            "extra-hosts": dict(entry.split(":", 1) for entry in extra_hosts(build)),
            "output": ["type=registry" if push and target.services[name].get("image") else "type=docker"],
        }
        targets[aliases[name]] = {
            key: value for key, value in entry.items() if value not in (None, "", False, 0, [], {})
        }
    return {"group": {"default": {"targets": [aliases[name] for name in names if name in built]}}, "target": targets}


def _aliases(services: Iterable[str]) -> dict[str, str]:
    """Return the name of each service's target: one has no dots, and no two are the same."""
    found: dict[str, str] = {}
    for name in sorted(services):
        alias = name.replace(".", "_")
        while alias in found.values():
            alias += "_"
        found[name] = alias
    return found


def _dockerfile(build: Mapping[str, Any]) -> str:
    name, context = str(build.get("dockerfile") or ""), str(build.get("context") or "")
    is_local = os.path.isabs(context)
    return os.path.join(context, name) if name and is_local and not build.get("dockerfile_inline") else name


def _literal(value: Any) -> Any:
    """Return text that a bake file takes as it is."""
    return value.replace("${", "$${") if isinstance(value, str) else value


def _secret(target: DesiredProject, use: Mapping[str, Any]) -> str:
    declared = (target.model.get("secrets") or {}).get(use["source"]) or {}
    name = use.get("target") or use["source"]
    if declared.get("environment"):
        return f"id={name},type=env,env={declared['environment']}"
    return f"id={name},type=file,src={declared.get('file') or ''}"


def _pairs(given: Any) -> list[str]:
    if isinstance(given, Mapping):
        return [f"{name}={path}" if path else str(name) for name, path in given.items()]
    return [str(each) for each in given or ()]


def _entitlements(build: Mapping[str, Any]) -> list[str]:
    found = list(build.get("entitlements") or ())
    return [*found, "security.insecure"] if build.get("privileged") and "security.insecure" not in found else found
