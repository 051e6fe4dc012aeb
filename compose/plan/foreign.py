"""What a container is made of that does not say it itself, as those that docker compose makes: read from the engine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compose.plan.differences import differences
from compose.plan.project import DesiredProject, image_name

OWN_LABELS = ("com.docker.compose.", "dev.skiff.", "desktop.docker.io/")
UNKNOWN = "its configuration changed"
"""The reason where nobody knows more."""


def foreign_differences(
    target: DesiredProject, name: str, container: Mapping[str, Any], image: Mapping[str, Any]
) -> list[str]:
    """Return how `container` differs from the service `name`, in the words of the files, as far as can be seen.

    `container` and `image` are what "Inspect a container" and "Inspect an image" say (Docker Engine API).
    """
    before, now = _made_of(target, container, image), _wanted(target, name, image)
    return differences(before, now, target.working_directory)


def _made_of(target: DesiredProject, container: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    config, host = container.get("Config") or {}, container.get("HostConfig") or {}
    base = image.get("Config") or {}
    variables = _variables(config.get("Env"))
    keys = {target.resource_name("volumes", key): key for key in target.section("volumes")}
    ports = [
        {"target": key.partition("/")[0], "protocol": key.partition("/")[2], "published": one.get("HostPort") or "",
         "host_ip": one.get("HostIp") or ""}
        for key, bindings in (host.get("PortBindings") or {}).items()
        for one in bindings or ()
    ]  # fmt: skip
    asked = {bind.split(":")[1] for bind in host.get("Binds") or () if ":" in bind}
    asked |= {mount["Target"] for mount in host.get("Mounts") or ()}
    mounts = [
        {"source": keys.get(one.get("Name") or "", one.get("Source")), "target": one["Destination"],
         "read_only": not one.get("RW", True)}
        for one in container.get("Mounts") or ()
        if (one.get("Type") == "bind" or one.get("Name") in keys)
        # others are those of the containers whose volumes it has (`volumes_from`)
        and (not host.get("VolumesFrom") or one["Destination"] in asked)
    ]  # fmt: skip
    return {
        "image": config.get("Image"),
        "command": _unless(config.get("Cmd"), base.get("Cmd")),
        "entrypoint": _unless(config.get("Entrypoint"), base.get("Entrypoint")),
        "user": _unless(config.get("User"), base.get("User")) or None,
        "working_dir": _unless(config.get("WorkingDir"), base.get("WorkingDir")) or None,
        "environment": _without(variables, _variables(base.get("Env"))),
        "labels": _without(_labels(config.get("Labels")), _labels(base.get("Labels"))),
        "ports": _sorted(ports),
        "volumes": _sorted(mounts),
        "privileged": bool(host.get("Privileged")) or None,
        "init": bool(host.get("Init")) or None,
        "read_only": bool(host.get("ReadonlyRootfs")) or None,
    }


def _wanted(target: DesiredProject, name: str, image: Mapping[str, Any]) -> dict[str, Any]:
    service, base = target.services[name], image.get("Config") or {}
    variables = {key: value for key, value in service.environment.items() if value is not None}
    ports = [
        {"target": port.target, "protocol": port.protocol, "published": port.published, "host_ip": port.host_ip}
        for port in service.ports
    ]
    files = {
        use.path(folder): declared.file
        for kind, folder in (("configs", "/"), ("secrets", "/run/secrets/"))
        for use in service.files(kind)
        if (declared := target.file(kind, use.source)).file
    }
    mounts = [
        {"source": mount.source, "target": mount.target, "read_only": mount.read_only}
        for mount in service.mounts
        if mount.type == "bind" or (mount.type == "volume" and mount.source)
    ]
    mounts += [{"source": source, "target": path, "read_only": True} for path, source in files.items()]
    return {
        "image": image_name(target, name),
        "command": _unless(service.command, base.get("Cmd")),
        "entrypoint": _unless(service.entrypoint, base.get("Entrypoint")),
        "user": _unless(service.user, base.get("User")) or None,
        "working_dir": _unless(service.working_directory, base.get("WorkingDir")) or None,
        "environment": _without(variables, _variables(base.get("Env"))),
        "labels": _without(dict(service.labels), _labels(base.get("Labels"))),
        "ports": _sorted(ports),
        "volumes": _sorted(mounts),
        "privileged": service.is_privileged or None,
        "init": bool(service.init) or None,
        "read_only": service.is_read_only or None,
    }


def _unless(value: Any, base: Any) -> Any:
    """Return `value`, None where it is that of the image."""
    return None if value == base else value


def _without(found: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    return {key: str(value) for key, value in sorted(found.items()) if base.get(key) != str(value)}


def _variables(entries: Any) -> dict[str, str]:
    return {key: value for key, _, value in (entry.partition("=") for entry in entries or ())}


def _labels(found: Mapping[str, str] | None) -> dict[str, str]:
    return {key: value for key, value in (found or {}).items() if not key.startswith(OWN_LABELS)}


def _sorted(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: str(sorted(entry.items())))
