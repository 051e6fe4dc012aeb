"""From short forms to long ones, defaults, and absolute paths: what makes two spellings of a model the same. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compose.loading import values
from compose.loading.merging import Model, Report, unify

FILES = ("configs", "secrets")
VALUE = "x-#value"
"""While loading, next to the `environment` of a config or secret: the variable's value where it was named."""


def canonical(model: Model, report: Report, *, interpolated: bool) -> Model:
    """Bring every attribute of `model` into its long form, in place; problems go to `report`.

    Without interpolation, texts that can't be parsed because of their variables stay as they are.
    """

    def attempt(function: Callable[[Any], Any], value: Any, *path: str | int) -> Any:
        try:
            return function(value)
        except ValueError as error:
            if interpolated:
                report(str(error), path)
            return value

    for name, service in (model.get("services") or {}).items():
        if isinstance(service, dict):
            _service(service, attempt, ("services", name))
    for section in ("networks", "volumes", "secrets", "configs"):
        for name, resource in (model.get(section) or {}).items():
            if isinstance(resource, dict) and isinstance(resource.get("external"), dict):
                inner = resource["external"].get("name")
                if inner and resource.get("name") not in (None, inner):
                    report("name and external.name conflict; use name alone", (section, name, "external"))
                resource["external"] = True
                if inner:
                    resource["name"] = inner
    # long forms can be equal where their short forms were not, as with ranges of ports
    return unify(model)


def _service(service: Model, attempt: Callable[..., Any], at: tuple[str, ...]) -> None:
    if isinstance(service.get("build"), str):
        service["build"] = {"context": service["build"]}
    build = service.get("build")
    if isinstance(build, dict):
        _file_mounts(build, "secrets")
        if "additional_contexts" in build:
            contexts = build["additional_contexts"]
            build["additional_contexts"] = attempt(_pairs, contexts, *at, "build", "additional_contexts")
        if "ssh" in build:
            build["ssh"] = attempt(_ssh, build["ssh"], *at, "build", "ssh")
        for attribute in ("provenance", "sbom"):
            if attribute in build:
                build[attribute] = values.text_of(build[attribute])
    depends = service.get("depends_on")
    if isinstance(depends, list):
        service["depends_on"] = {str(name): {"condition": "service_started", "required": True} for name in depends}
    elif isinstance(depends, dict):
        for each in depends.values():
            if isinstance(each, dict):
                each.setdefault("required", True)
    for attribute in ("dns", "label_file", "dns_search", "tmpfs"):
        if isinstance(service.get(attribute), str):
            service[attribute] = [service[attribute]]
    develop = service.get("develop")
    watches = develop.get("watch") if isinstance(develop, dict) else None
    for watch in watches if isinstance(watches, list) else ():
        for attribute in ("ignore", "include"):
            if isinstance(watch, dict) and isinstance(watch.get(attribute), str):
                watch[attribute] = [watch[attribute]]
    if isinstance(service.get("dns"), list):
        service["dns"] = [each for each in service["dns"] if each != ""]
    files = service.get("env_file")
    if files is not None:
        service["env_file"] = [
            {"required": True, **each} if isinstance(each, dict) else {"path": each, "required": True}
            for each in (files if isinstance(files, list) else [files])
        ]
    if isinstance(service.get("extends"), str):
        service["extends"] = {"service": service["extends"]}
    if isinstance(service.get("gpus"), str):
        service["gpus"] = [{"count": service["gpus"]}]
    for attribute in ("networks", "models"):
        if isinstance(service.get(attribute), list):
            service[attribute] = {str(each): None for each in service[attribute]}
    volumes = service.get("volumes")
    if isinstance(volumes, list):
        for index, each in enumerate(volumes):
            if isinstance(each, str):
                volumes[index] = attempt(values.mount, each, *at, "volumes", index)
            elif isinstance(each, dict):
                each["target"] = attempt(_target, each, *at, "volumes", index)
    devices = service.get("devices")
    if isinstance(devices, list):
        for index, each in enumerate(devices):
            if isinstance(each, str):
                devices[index] = attempt(values.device, each, *at, "devices", index)
            elif isinstance(each, dict):
                attempt(_target, each, *at, "devices", index)
    for attribute in ("secrets", "configs"):
        _file_mounts(service, attribute)
    if isinstance(service.get("ports"), list):
        found: list[Any] = []
        for index, each in enumerate(service["ports"]):
            if isinstance(each, dict):
                attempt(_target, each, *at, "ports", index)
                found.append(each)
            else:
                parsed = attempt(values.ports, each, *at, "ports", index)
                found += parsed if isinstance(parsed, list) else [parsed]
        service["ports"] = found


def _file_mounts(holder: Model, attribute: str) -> None:
    if isinstance(holder.get(attribute), list):
        holder[attribute] = [{"source": each} if isinstance(each, str) else each for each in holder[attribute]]


def _target(entry: Model) -> Any:
    target = entry.get("target")
    if target is None:
        raise ValueError("its target is missing: where it is in the container")
    return values.clean_target(target) if isinstance(target, str) else target


def _pairs(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    for each in value:
        if "=" not in str(each):
            raise ValueError(f'"{each}" gives no context: write it as name=context')
    return {key: context for key, _, context in (str(each).partition("=") for each in value)}


def _ssh(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    found: Model = {}
    for each in value:
        key, equals, path = str(each).partition("=")
        if not equals and key != "default":
            raise ValueError(f'"{each}" names no agent or key: write it as default, or as {each}=PATH')
        found[key] = path if equals else None
    return found


def defaults(model: Model) -> None:
    """Add, in place, the defaults of what services may omit."""
    for service in (model.get("services") or {}).values():
        if not isinstance(service, dict):
            continue
        build = service.get("build")
        if isinstance(build, dict) and "context" not in build:
            build["context"] = "."
        for secret in service.get("secrets") or ():
            if isinstance(secret, dict) and "target" not in secret:
                secret["target"] = f"/run/secrets/{secret.get('source')}"
        for port in service.get("ports") or ():
            if isinstance(port, dict):
                port.setdefault("protocol", "tcp")
                port.setdefault("mode", "ingress")
        for volume in service.get("volumes") or ():
            if isinstance(volume, dict) and volume.get("type") == "bind" and isinstance(volume.get("bind"), dict):
                volume["bind"].setdefault("create_host_path", True)
        for request in device_requests(service):
            if "count" not in request and "device_ids" not in request:
                request["count"] = "all"


def device_requests(service: Model) -> list[Model]:
    """Return the devices that a service asks for, of `gpus` and of its reservations."""
    deploy = service.get("deploy") or {}
    reserved = ((deploy.get("resources") or {}).get("reservations") or {}).get("devices") or []
    gpus = service.get("gpus") or []
    return [each for each in [*reserved, *(gpus if isinstance(gpus, list) else [])] if isinstance(each, dict)]


def resolve_environment(model: Model, environment: Callable[[str], str | None]) -> None:
    """Set, in place, variables that services name without a value from the environment; the same for files.

    The values of variables that configs and secrets name are stored as VALUE: an included model has its own variables.
    """
    for service in (model.get("services") or {}).values():
        if not isinstance(service, dict):
            continue
        if "environment" in service:
            service["environment"] = with_equals(service["environment"], environment)
    for section in FILES:
        for resource in (model.get(section) or {}).values():
            if isinstance(resource, dict) and isinstance(resource.get("environment"), str) and VALUE not in resource:
                value = environment(resource["environment"])
                if value is not None:
                    resource[VALUE] = value


def taken_values(model: Model) -> dict[tuple[str, str], str]:
    """Take the values of variables that configs and secrets are made of out of `model`, by section and name."""
    return {
        (section, name): resource.pop(VALUE)
        for section in FILES
        for name, resource in (model.get(section) or {}).items()
        if isinstance(resource, dict) and VALUE in resource
    }


def with_equals(given: Any, environment: Callable[[str], str | None]) -> dict[str, str | None]:
    """Return the variables of a list or mapping; one without a value has the environment's, or None."""
    found: dict[str, str | None] = {}
    if isinstance(given, list):
        for each in given:
            key, equals, value = str(each).partition("=")
            found[key] = value if equals else None
    else:
        found = {key: None if value is None else values.text_of(value) for key, value in (given or {}).items()}
    return {key: environment(key) if value is None else value for key, value in found.items()}
