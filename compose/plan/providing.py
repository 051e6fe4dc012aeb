"""Services that other programs provide, and the variables that they set for dependants. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compose.plan.parts import Provider
from compose.plan.project import DesiredProject
from runtime.errors import SkiffError


@dataclass(frozen=True)
class Variables:
    """What a provider sets for dependants: `own` with the service's name before theirs, `plain` as they are."""

    own: Mapping[str, str] = field(default_factory=dict)
    plain: Mapping[str, str] = field(default_factory=dict)


def provided(target: DesiredProject, names: Sequence[str]) -> list[str]:
    """Return those of the services `names` that are provided, each after those it depends on."""
    done: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in done or name in above or name not in target.services:
            return
        for other in target.services[name].dependencies:
            visit(other, (*above, name))
        done.append(name)

    for name in names:
        visit(name, ())
    return [name for name in done if name in names and target.services[name].provider]


def uses_others(target: DesiredProject, names: Sequence[str]) -> bool:
    """Whether one of the services `names` needs another program than the engine."""
    return any(target.services[name].provider or target.services[name].models for name in names)


def flags(name: str, provider: Provider, metadata: Mapping[str, Any], command: str) -> list[str]:
    """Return the options of a service's `provider` as flags of the provider's `command`.

    `metadata` describes the provider's flags, if it has any: options without a flag are left out. Raises SkiffError for one
    that is missing.
    """
    options = provider.options
    known = {each["name"]: each for each in (metadata.get(command) or {}).get("parameters") or ()}
    for parameter in known.values():
        if parameter.get("required") and parameter["name"] not in options:
            raise SkiffError(
                f'service "{name}": required parameter "{parameter["name"]}" is missing from provider '
                f'"{provider.type}" definition',
                "add it to provider.options",
            )
    return [
        f"--{key}={value}"
        for key, values in options.items()
        if not metadata or key in known
        for value in ([values] if isinstance(values, str) else values)
    ]


def with_variables(target: DesiredProject, name: str, variables: Variables) -> tuple[DesiredProject, list[str]]:
    """Return `target` with what the provider of the service `name` set, in those that depend on it; and warnings."""
    own = {f"{name.upper()}_{key}": value for key, value in variables.own.items()}
    changed, warnings = [], []
    for other, service in target.services.items():
        if name not in service.dependencies:
            continue
        environment = service.environment
        warnings += [
            f'provider "{name}" overrides environment variable "{key}" in service "{other}"'
            for key, value in variables.plain.items()
            if key in environment and environment[key] != value
        ]
        changed.append(service.with_environment({**own, **variables.plain}))
    return target.with_services(*changed), warnings
