"""Plugins of the Docker command line; Compose files name some of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence

from compose.plan.project import DesiredProject
from runtime.errors import SkiffError

# docker's own list (Docker documentation, "Docker CLI plugins"), after the user's folder
FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)


def plugin(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of the plugin that adds the command `name`, None where none is installed."""
    own = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME") or "/", ".docker")
    for folder in (os.path.join(own, "cli-plugins"), *FOLDERS):
        path = os.path.join(folder, f"docker-{name}")
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def model_runner(environ: Mapping[str, str]) -> str:
    """Return the path of Docker's model runner. Raises SkiffError where there is none."""
    found = plugin("model", environ)
    if found is None:
        raise SkiffError(
            "'models' support requires Docker Model plugin",
            "install docker-model; or run a model server as a service of its own, and set its address in the environment",
        )
    return found


def check_programs(target: DesiredProject, names: Sequence[str], environ: Mapping[str, str]) -> None:
    """Raise SkiffError for the first of the services `names` that needs a program that is not installed."""
    for name in names:
        service = target.services[name]
        if service.provider:
            provider(service.provider.type, environ)
        if service.models:
            model_runner(environ)


def provider(kind: str, environ: Mapping[str, str]) -> str:
    """Return the path of the program that provides services of the type `kind`: a plugin, or one on the PATH.

    Raises SkiffError where there is none.
    """
    if kind == "compose":
        raise SkiffError("'compose' is not a valid provider type", "name the program that provides the service")
    found = plugin(kind, environ) or shutil.which(kind, path=environ.get("PATH"))
    if found is None:
        raise SkiffError(
            f'no provider "{kind}" found: neither a Docker CLI plugin docker-{kind} nor a program on the PATH',
            "install it, or correct `provider.type`",
        )
    return found
