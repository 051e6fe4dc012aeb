"""What a model implies (default network, names of resources, dependencies), and consistency checks. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compose.loading import values
from compose.loading.canonical import device_requests, with_equals
from compose.loading.document import Path
from compose.loading.merging import Model, Report
from compose.units import size_bytes

NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")
CONFIG_WAYS = ("file", "environment", "content")
SECRET_WAYS = ("file", "environment")


def normalize(model: Model, project: str, environment: Callable[[str], str | None]) -> None:
    """Add, in place, what the model implies."""
    uses_default = False
    for service in (model.get("services") or {}).values():
        if "provider" not in service and "network_mode" not in service:
            service["networks"] = service.get("networks") or {"default": None}
            uses_default = uses_default or "default" in service["networks"]
        if service.get("pull_policy") == "if_not_present":
            service["pull_policy"] = "missing"
        build = service.get("build")
        if isinstance(build, dict):
            if "dockerfile" not in build and "dockerfile_inline" not in build:
                build["dockerfile"] = "Dockerfile"
            if "args" in build:
                build["args"] = {
                    key: value for key, value in with_equals(build["args"], environment).items() if value is not None
                }
        _dependencies(service)
    if uses_default:
        model["networks"] = {"default": None, **(model.get("networks") or {})}
    for section in ("networks", "volumes", "configs", "secrets"):
        resources = model.get(section) or {}
        for key, resource in resources.items():
            resource = dict(resource or {})
            if resource.get("name") is None:
                resource["name"] = key if is_external(resource) else f"{project}_{key}"
            resources[key] = resource


def is_external(resource: Model | None) -> bool:
    """Return whether a resource is not the project's own."""
    return bool(resource and resource.get("external"))


def _dependencies(service: Model) -> None:
    depends: Model = dict(service.get("depends_on") or {})
    # as in the reference, what has more than two parts names a service as a whole
    links = (link.split(":") for link in service.get("links") or ())
    implied = [(":".join(parts) if len(parts) > 2 else parts[0], True) for parts in links]
    for attribute in NAMESPACES:
        mode = service.get(attribute)
        if isinstance(mode, str) and mode.startswith("service:"):
            implied.append((mode[8:], True))
    implied += [
        (each.partition(":")[0], False)
        for each in service.get("volumes_from") or ()
        if not each.startswith("container:")
    ]
    for name, restart in implied:
        if name not in depends:
            depends[name] = {"condition": "service_started", "required": True, **({"restart": True} if restart else {})}
    if depends:
        service["depends_on"] = depends


def check_resources(model: Model, report: Report) -> None:
    """Report problems of single values, after defaults."""
    for section, ways in (("configs", CONFIG_WAYS), ("secrets", SECRET_WAYS)):
        for name, resource in (model.get(section) or {}).items():
            given = [way for way in ways if way in (resource or {})]
            if len(given) > 1:
                report(f"{' and '.join(given)} can't be used together", (section, name))
            is_own = not {"driver", "external"} & set(resource or {})
            if not given and is_own:
                report(f"one of {', '.join(ways)} is needed", (section, name))
    for section in ("volumes", "networks", "secrets", "configs"):
        for name, resource in (model.get(section) or {}).items():
            _check_external(section, name, resource or {}, report)
    for name, service in (model.get("services") or {}).items():
        for index, watch in enumerate((service.get("develop") or {}).get("watch") or ()):
            if watch.get("path") == "":
                report("the path is empty", ("services", name, "develop", "watch", index, "path"))
        for index, port in enumerate(service.get("ports") or ()):
            address = port.get("host_ip") if isinstance(port, dict) else None
            if address is not None and not values.is_address(address):
                report(f"{address} is not an address", ("services", name, "ports", index, "host_ip"))
        _check_variables(service.get("environment"), ("services", name, "environment"), report)
        build = service.get("build")
        _check_variables(
            build.get("args") if isinstance(build, dict) else None, ("services", name, "build", "args"), report
        )
        for request in device_requests(service):
            if "count" in request and "device_ids" in request:
                report("count and device_ids can't be used together", ("services", name))
        for index, volume in enumerate(service.get("volumes") or ()):
            if isinstance(volume, dict) and volume.get("type") == "bind" and "source" not in volume:
                report("a bind mount needs a source", ("services", name, "volumes", index))


def _check_variables(given: object, at: Path, report: Report) -> None:
    """Report names with a space behind them, which are typing mistakes; in a mapping, quotes show that it is meant."""
    for index, entry in enumerate(given if isinstance(given, list) else ()):
        key, equals, value = str(entry).partition("=")
        if key[-1:].isspace():
            wanted = f"{key.strip()}={value.strip()}" if equals else key.strip()
            report(f"the variable's name {key!r} ends with a space\n    write {wanted}", (*at, index))


def _check_external(section: str, name: str, resource: Model, report: Report) -> None:
    if section != "volumes" or not is_external(resource):
        return
    for key in resource:
        if key not in ("name", "external") and not key.startswith("x-"):
            report(f"{key} can't be set for an external volume", (section, name, key))


def check_consistency(model: Model, disabled: Model, report: Report) -> None:
    """Report what doesn't fit together in the enabled services and what they use."""
    services: Model = model.get("services") or {}
    names: dict[str, str] = {}
    for name, service in services.items():
        at = ("services", name)
        build = service.get("build")
        if not build and not service.get("image") and not service.get("provider"):
            report("has neither an image nor a build context", at)
        if build:
            if build.get("dockerfile_inline") and build.get("dockerfile"):
                report("dockerfile and dockerfile_inline can't be used together", (*at, "build"))
            platforms = build.get("platforms")
            if platforms and service.get("platform") and service["platform"] not in platforms:
                report(f"build.platforms must include the platform {service['platform']}", (*at, "build", "platforms"))
            _references(build.get("secrets") or (), model.get("secrets"), "secret", (*at, "build", "secrets"), report)
            _check_contexts(build, services, disabled, (*at, "build", "additional_contexts"), report)
        if service.get("network_mode") and service.get("networks"):
            report("network_mode and networks can't be used together", (*at, "network_mode"))
        for network in service.get("networks") or {}:
            if network not in (model.get("networks") or {}):
                report(_undefined("network", network, model.get("networks")), (*at, "networks", network))
        _check_dependencies(service, services, disabled, at, report)
        for index, volume in enumerate(service.get("volumes") or ()):
            source = volume.get("source")
            if volume.get("type") == "volume" and source and source not in (model.get("volumes") or {}):
                report(_undefined("volume", source, model.get("volumes")), (*at, "volumes", index))
        _check_mounts(service, at, report)
        test = (service.get("healthcheck") or {}).get("test")
        if isinstance(test, list) and test and test[0] not in ("CMD", "CMD-SHELL", "NONE"):
            report("a test begins with CMD, CMD-SHELL or NONE", (*at, "healthcheck", "test"))
        _references(service.get("secrets") or (), model.get("secrets"), "secret", (*at, "secrets"), report)
        _references(service.get("configs") or (), model.get("configs"), "config", (*at, "configs"), report)
        for key in service.get("models") or {}:
            if key not in (model.get("models") or {}):
                report(_undefined("model", key, model.get("models")), (*at, "models", key))
        _check_limits(service, at, report)
        _check_scale(service, at, report)
        container = service.get("container_name")
        if container:
            if container in names:
                report(f'the container name "{container}" is in use by service "{names[container]}"', at)
            names[container] = name
        for index, watch in enumerate((service.get("develop") or {}).get("watch") or ()):
            if not watch.get("target") and watch.get("action") not in ("rebuild", "restart"):
                report("a target is needed unless the action is rebuild", (*at, "develop", "watch", index))
    for name, secret in (model.get("secrets") or {}).items():
        has_source = secret and (secret.get("file") or secret.get("environment"))
        # the reference lets a driver stand for them in its first check, not in this one
        if secret and not has_source and not is_external(secret) and {"driver", *SECRET_WAYS, "external"} & set(secret):
            report("one of file, environment is needed", ("secrets", name))
    _check_cycles(services, report)


def _check_contexts(build: Model, services: Model, disabled: Model, at: tuple[str, ...], report: Report) -> None:
    for key, context in (build.get("additional_contexts") or {}).items():
        kind, _, name = str(context).partition(":")
        if kind == "service" and name in disabled:
            report(f'refers to the service "{name}"{_off(disabled[name])}', (*at, key))
        elif kind == "service" and name not in services:
            report(_undefined("service", name, services), (*at, key))
        elif kind == "service" and not services[name].get("build"):
            report(f'the service "{name}" is not built, so that its image is no context: give it a build', (*at, key))


def _references(entries: Any, defined: Model | None, kind: str, at: tuple[str, ...], report: Report) -> None:
    for index, entry in enumerate(entries):
        if entry.get("source") not in (defined or {}):
            report(_undefined(kind, entry.get("source"), defined), (*at, index))


def _off(service: Model) -> str:
    return f", which is off: enable its profile ({', '.join(service.get('profiles') or ())})"


def _undefined(kind: str, name: Any, known: Any) -> str:
    return f'refers to the {kind} "{name}", which no file defines' + suggestion(str(name), known or ())


def suggestion(name: str, known: Any) -> str:
    """Return a further line that suggests the nearest of the `known` names, or ""."""
    import difflib

    nearest = difflib.get_close_matches(name, [str(each) for each in known], 1)
    return f'\n    did you mean "{nearest[0]}"?' if nearest else ""


def _check_dependencies(service: Model, services: Model, disabled: Model, at: tuple[str, str], report: Report) -> None:
    for name, how in (service.get("depends_on") or {}).items():
        if name in services or (name in disabled and not how.get("required", True)):
            continue
        if name in disabled:
            report(f'depends on "{name}"{_off(disabled[name])}', (*at, "depends_on", name))
        else:
            known = [*services, *disabled]
            report(f'depends on "{name}", which no file defines' + suggestion(name, known), (*at, "depends_on", name))


def _check_mounts(service: Model, at: tuple[str, str], report: Report) -> None:
    """Report what is mounted where something else is."""
    mounts: list[tuple[Any, str, int]] = []
    temporary = service.get("tmpfs") or ()
    for index, each in enumerate([temporary] if isinstance(temporary, str) else temporary):
        mounts.append((each.partition(":")[0], "tmpfs", index))
    for attribute, folder in (("volumes", ""), ("configs", "/"), ("secrets", "/run/secrets/")):
        for index, each in enumerate(service.get(attribute) or ()):
            mounts.append((each.get("target") or f"{folder}{each.get('source')}", attribute, index))
    first: dict[Any, str] = {}
    for target, attribute, index in mounts:
        if target in first:
            report(f"{target} is mounted already, as {first[target]}", (*at, attribute, index))
        first.setdefault(target, f"{attribute}.{index}")


def _check_limits(service: Model, at: tuple[str, str], report: Report) -> None:
    resources = (service.get("deploy") or {}).get("resources") or {}
    pairs: tuple[tuple[str, str, str, Callable[[Any], Any]], ...] = (
        ("mem_limit", "limits", "memory", size_bytes),
        ("mem_reservation", "reservations", "memory", size_bytes),
        ("cpus", "limits", "cpus", float),
        ("pids_limit", "limits", "pids", int),
    )
    for attribute, kind, key, parse in pairs:
        own, given = service.get(attribute), resources.get(kind)
        try:
            # as in the reference, limits that leave this one out set another value too
            differ = given is not None and bool(own) and parse(own) not in (0, parse(given.get(key) or 0))
        except (TypeError, ValueError):
            continue  # the encoder reports values that can't be parsed
        if differ:
            report(f"can't differ from deploy.resources.{kind}.{key}", (*at, attribute))


def _check_scale(service: Model, at: tuple[str, str], report: Report) -> None:
    scale, replicas = service.get("scale"), (service.get("deploy") or {}).get("replicas")
    if scale is not None and replicas is not None and scale != replicas:
        report("can't differ from deploy.replicas", (*at, "scale"))
    elif scale is not None and isinstance(service.get("deploy"), dict):
        service["deploy"]["replicas"] = scale
    wanted = scale if scale is not None else replicas
    if isinstance(wanted, int) and wanted > 1 and service.get("container_name"):
        report("can't be set for several containers: names are unique", (*at, "container_name"))


def _check_cycles(services: Model, report: Report) -> None:
    done: set[str] = set()
    for start in services:
        if start in done:
            continue
        trail: list[str] = []
        stack = [(start, iter(services[start].get("depends_on") or {}))]
        trail.append(start)
        while stack:
            name, rest = stack[-1]
            following = next((each for each in rest if each in services and each not in done), None)
            if following is None:
                stack.pop()
                done.add(trail.pop())
            elif following in trail:
                cycle = [*trail[trail.index(following) :], following]
                report(f"dependency cycle: {' -> '.join(cycle)}", ("services", name, "depends_on", following))
                return
            else:
                trail.append(following)
                stack.append((following, iter(services[following].get("depends_on") or {})))
