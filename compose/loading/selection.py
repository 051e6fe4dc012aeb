"""Selection of services: by active profiles, and by name with their dependencies. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compose.errors import ConfigError
from compose.loading.merging import Model


def enable(services: Mapping[str, Model], active: set[str], named: Sequence[str] = ()) -> tuple[Model, Model]:
    """Return the services that `active` profiles enable, and the others; naming a service enables its profiles."""
    wanted = {name: set((service or {}).get("profiles") or ()) for name, service in services.items()}

    def is_enabled(name: str, profiles: set[str]) -> bool:
        return not wanted[name] or bool(wanted[name] & profiles) or "*" in profiles

    off = [name for name in named if name in services and not is_enabled(name, active)]
    active = active.union(*(wanted[name] for name in off))
    enabled = {name: service for name, service in services.items() if is_enabled(name, active)}
    return enabled, {name: service for name, service in services.items() if name not in enabled}


def select(services: Mapping[str, Model], named: Sequence[str]) -> set[str]:
    """Return the names of `named` services and of all they depend on. Raises ConfigError for one that is not there."""
    for name in named:
        if name not in services:
            raise ConfigError(f"no such service: {name}", hint=f"services: {', '.join(sorted(services)) or 'none'}")
    return set(in_order(services, named))


def in_order(services: Mapping[str, Model], named: Sequence[str]) -> list[str]:
    """Return `named` services and all they depend on, each after what it depends on, otherwise by name."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    stack = [(name, False) for name in sorted(named, reverse=True)]
    while stack:
        name, is_done = stack.pop()
        if is_done:
            found[name] = None
        elif name in services and name not in seen:
            seen.add(name)
            stack.append((name, True))
            stack += [(each, False) for each in sorted(services[name].get("depends_on") or (), reverse=True)]
    return list(found)


def used(services: Mapping[str, Model]) -> dict[str, set[str]]:
    """Return by section the names of the resources that services use."""
    found: dict[str, set[str]] = {key: set() for key in ("networks", "volumes", "secrets", "configs", "models")}
    for service in services.values():
        found["networks"] |= set(service.get("networks") or ())
        found["models"] |= set(service.get("models") or ())
        for volume in service.get("volumes") or ():
            if volume.get("type") == "volume" and volume.get("source"):
                found["volumes"].add(volume["source"])
        for section, holder in (("secrets", service), ("configs", service), ("secrets", service.get("build") or {})):
            found[section] |= {each.get("source") for each in holder.get(section) or ()}
    return found
