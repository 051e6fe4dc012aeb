"""The builds of a project as a bake file, which `build --print` shows (buildx, "Bake file reference"). Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compose.plan.build_settings import BuildSettings
from compose.plan.parts import FileUse
from compose.plan.project import PROJECT, SERVICE, DesiredProject, image_name


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
    built = {name: service for name, service in target.services.items() if service.build}
    targets = {}
    for name, service in built.items():
        build = service.build
        assert build is not None  # selected above
        entry = {
            "context": build.context,
            "contexts": {key: _context(value, aliases) for key, value in build.contexts.items()},
            "dockerfile": _dockerfile(build),
            "dockerfile-inline": _literal(build.dockerfile_inline),
            "args": {
                key: _literal(value) for key, value in {**build.arguments, **arguments}.items() if value is not None
            },
            "labels": {**build.labels, PROJECT: target.name, SERVICE: name},
            "tags": [*build.tags, image_name(target, name)],
            "cache-from": build.cache_from,
            "cache-to": build.cache_to,
            "target": build.target,
            "secret": [_secret(target, use) for use in build.secrets],
            "ssh": [*(f"{key}={path}" if path else key for key, path in build.ssh.items()), *ssh],
            "platforms": build.platforms,
            "pull": build.pull or pull,
            "no-cache": build.no_cache or no_cache,
            "network": build.network,
            "no-cache-filter": build.no_cache_filter,
            "shm-size": build.shm_size_bytes,
            "ulimits": [f"{limit.name}={limit.soft}:{limit.hard}" for limit in build.ulimits],
            "entitlements": build.allowed_entitlements(),
            "extra-hosts": dict(entry.split(":", 1) for entry in build.extra_hosts),
            "output": ["type=registry" if push and service.image else "type=docker"],
        }
        targets[aliases[name]] = {
            key: value for key, value in entry.items() if value not in (None, "", False, 0, [], (), {})
        }
    return {"group": {"default": {"targets": [aliases[name] for name in names if name in built]}}, "target": targets}


def _aliases(services: Iterable[str]) -> dict[str, str]:
    """Return the name of each service's target, without dots and unique."""
    found: dict[str, str] = {}
    for name in sorted(services):
        alias = name.replace(".", "_")
        while alias in found.values():
            alias += "_"
        found[name] = alias
    return found


def _context(value: str, aliases: Mapping[str, str]) -> str:
    """Return an additional context as a bake file writes it: a service is the target that builds it."""
    service = value.removeprefix("service:")
    return f"target:{aliases[service]}" if service != value and service in aliases else value


def _dockerfile(build: BuildSettings) -> str:
    name, context = build.dockerfile, build.context
    return os.path.join(context, name) if name and os.path.isabs(context) and not build.dockerfile_inline else name


def _literal(value: Any) -> Any:
    """Return `value` escaped, so that a bake file does not interpolate it."""
    return value.replace("${", "$${") if isinstance(value, str) else value


def _secret(target: DesiredProject, use: FileUse) -> str:
    declared = target.file("secrets", use.source)
    name = use.target or use.source
    if declared.environment:
        return f"id={name},type=env,env={declared.environment}"
    return f"id={name},type=file,src={declared.file}"
