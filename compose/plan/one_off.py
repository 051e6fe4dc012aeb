"""A service as `run` starts it: the settings of the files overridden by those of the command line. Pure."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compose.loading import values
from compose.plan import project as labels
from compose.plan.container_body import container_body
from compose.plan.project import DesiredProject
from compose.plan.service import Service
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from runtime.bodies import CreateBody


@dataclass(frozen=True)
class RunOptions:
    """The flags of `run` that concern its container; `entrypoint` None means the service's."""

    command: Sequence[str] = ()
    entrypoint: str | None = None
    environment: Sequence[str] = ()
    file_environment: Mapping[str, str] | None = None
    labels: Sequence[str] = ()
    ports: Sequence[str] = ()
    service_ports: bool = False
    volumes: Sequence[str] = ()
    user: str = ""
    working_directory: str = ""
    cap_add: Sequence[str] = ()
    cap_drop: Sequence[str] = ()
    use_aliases: bool = False
    tty: bool = False
    interactive: bool = True
    auto_remove: bool = False


def one_off_target(
    target: DesiredProject, name: str, container: str, options: RunOptions, folder: str
) -> DesiredProject:
    """Return `target` with the service `name` changed to what the container named `container` runs.

    Paths of volumes are relative to `folder`. Raises SkiffError for what is malformed.
    """
    document: dict[str, Any] = {**target.services[name].document, "container_name": container, "tty": options.tty}
    document["stdin_open"] = options.interactive
    document.pop("restart", None)
    document["deploy"] = {key: one for key, one in (document.get("deploy") or {}).items() if key != "restart_policy"}
    if options.command:
        document["command"] = list(options.command)
    if options.entrypoint is not None:
        document["entrypoint"] = _words(options.entrypoint)
        document["command"] = list(options.command)
    if options.user:
        document["user"] = options.user
    if options.working_directory:
        document["working_dir"] = options.working_directory
    document["environment"] = _environment(target, target.services[name], options)
    document["labels"] = {**(document.get("labels") or {}), **dict(_label(text) for text in options.labels)}
    if options.ports or not options.service_ports:
        document["ports"] = [port for text in options.ports for port in _parsed("--publish", values.ports, text)]
    mounts = [_volume(text, folder) for text in options.volumes]
    taken = {mount["target"] for mount in mounts}
    document["volumes"] = [v for v in document.get("volumes") or () if v["target"] not in taken] + mounts
    document["cap_add"] = [c for c in document.get("cap_add") or () if c not in options.cap_drop] + [*options.cap_add]
    document["cap_drop"] = [c for c in document.get("cap_drop") or () if c not in options.cap_add] + [*options.cap_drop]
    return target.with_services(Service(name, document))


def one_off_body(target: DesiredProject, name: str, options: RunOptions, slug: str, **how: Any) -> CreateBody:
    """Return the body of "Create a container" for a one-off; `how` is as for `container_body`."""
    body = container_body(target, name, 1, **how)
    body["Labels"] |= {labels.ONEOFF: "True", labels.SLUG: slug}
    del body["Labels"][labels.NUMBER]
    body["StdinOnce"] = body["AttachStdin"] = options.interactive
    body["HostConfig"]["AutoRemove"] = options.auto_remove
    if not options.use_aliases:
        container = target.services[name].container_name
        for settings in (body.get("NetworkingConfig") or {}).get("EndpointsConfig", {}).values():
            settings["Aliases"] = [container]
    return body


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text) or [""]
    except ValueError as error:
        raise SkiffError(f"--entrypoint: {error}", "close what is quoted") from None


def _environment(target: DesiredProject, service: Service, options: RunOptions) -> dict[str, str | None]:
    found = {**service.environment, **(options.file_environment or {})}
    for entry in options.environment:
        name, equals, value = entry.partition("=")
        if equals:
            found[name] = value
        elif name in target.environment:
            found[name] = target.environment[name]
    return found


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SkiffError("label must be set as KEY=VALUE", f"write --label {name}=...")
    return name, value


def _volume(text: str, folder: str) -> dict[str, Any]:
    mount: dict[str, Any] = _parsed("--volume", values.mount, text)
    if mount["type"] == "bind":
        mount["source"] = os.path.normpath(os.path.join(folder, os.path.expanduser(mount["source"])))
    return mount


def _parsed(flag: str, parse: Any, text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise SkiffError(f"{flag}: {error}") from None
