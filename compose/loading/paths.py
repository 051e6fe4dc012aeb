"""Paths of the host in a model: "~", relative to a folder, remote build contexts, Windows paths (specification, "Paths")."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from compose.errors import ConfigError
from compose.loading import values
from compose.loading.merging import Model
from runtime.errors import SkiffError

REMOTE_CONTEXTS = ("https://", "http://", "git://", "ssh://", "git@", "github.com/")
REGISTRY = "oci://"
REMOTE_FILES = (*REMOTE_CONTEXTS, REGISTRY)


def expanded(path: str, home: str) -> str:
    """Return a path with a leading "~" replaced by `home`; as it is where there is no home."""
    return os.path.normpath(f"{home}/{path[1:]}") if path.startswith("~") and home else path


def check_local(path: str) -> None:
    """Raise ConfigError for a Compose file that lies in a repository or registry."""
    if path.startswith(REMOTE_FILES):
        raise ConfigError(f"{path} is not on this machine", hint="fetch it, and name the copy")


def on_this_machine(path: str, fetch: Callable[[str], str] | None) -> str:
    """Return `path`, or where `fetch` has put what it names in a registry. Raises ConfigError where that can't be had."""
    if fetch is None or not path.startswith(REGISTRY):
        check_local(path)
        return path
    try:
        return fetch(path.removeprefix(REGISTRY))
    except ConfigError:
        raise
    except SkiffError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from error


def resolve_paths(model: Model, folder: str, home: str) -> None:
    """Make every path of the host in `model` absolute, in place: relative ones start at `folder`, "~" is `home`."""

    def absolute(path: Any) -> Any:
        if not isinstance(path, str) or not path:
            return path
        path = expanded(path, home)
        return path if os.path.isabs(path) else os.path.normpath(os.path.join(folder, path))

    def of_host(path: Any) -> Any:
        if not isinstance(path, str) or values.is_windows_path(path) or path.startswith("\\\\"):
            return path
        return absolute(path) or os.path.normpath(folder)

    def context(path: Any) -> Any:
        is_local = isinstance(path, str) and "://" not in path and not path.startswith(("service:", *REMOTE_CONTEXTS))
        return absolute(path) if is_local else path

    for service in _mappings(model.get("services")):
        _resolve_service(service, absolute, of_host, context)
    for section in ("configs", "secrets"):
        for resource in _mappings(model.get(section)):
            if "file" in resource:
                resource["file"] = of_host(resource["file"])
    for volume in _mappings(model.get("volumes")):
        options = volume.get("driver_opts") if volume.get("driver") == "local" else None
        if isinstance(options, dict) and options.get("o") == "bind" and "device" in options:
            options["device"] = of_host(options["device"])


Resolve = Callable[[Any], Any]


def _resolve_service(service: Model, absolute: Resolve, of_host: Resolve, context: Resolve) -> None:
    build = service.get("build")
    if isinstance(build, dict):
        if "context" in build:
            build["context"] = context(build["context"])
        contexts = build.get("additional_contexts")
        if isinstance(contexts, dict):
            build["additional_contexts"] = {key: context(each) for key, each in contexts.items()}
        if isinstance(build.get("ssh"), dict):
            build["ssh"] = {key: absolute(each) for key, each in build["ssh"].items()}
    for file in _mappings(service.get("env_file")):
        file["path"] = absolute(file.get("path"))
    if isinstance(service.get("label_file"), list):
        service["label_file"] = [absolute(each) for each in service["label_file"]]
    extends = service.get("extends")
    if isinstance(extends, dict) and isinstance(extends.get("file"), str):
        file = extends["file"]
        extends["file"] = file if file.startswith(REMOTE_FILES) else absolute(file)
    for volume in _mappings(service.get("volumes")):
        if volume.get("type") == "bind" and "source" in volume:
            volume["source"] = of_host(volume["source"])
    develop = service.get("develop")
    for watch in _mappings(develop.get("watch") if isinstance(develop, dict) else None):
        watch["path"] = _without_link(absolute(watch.get("path")))


def _without_link(path: Any) -> Any:
    """Return an absolute path with the first symbolic link on its way followed: what is watched is what is there."""
    if not isinstance(path, str) or not os.path.isabs(path):
        return path
    way = ""
    for step in path.split("/")[1:]:
        way = f"{way}/{step}"
        if os.path.islink(way):
            return os.path.realpath(way) + path[len(way) :]
    return path


def _mappings(entries: Any) -> Iterable[Model]:
    if isinstance(entries, dict):
        entries = list(entries.values())
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
