"""Which platform images are for where a service does not say: $DOCKER_DEFAULT_PLATFORM. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from compose.plan.project import DesiredProject
from runtime.errors import SkiffError

DEFAULT_PLATFORM = "DOCKER_DEFAULT_PLATFORM"


def platform_of(target: DesiredProject, name: str) -> str:
    """Return the platform that the image of the service `name` must be for, or ""; no digest has the default one."""
    return target.services[name].platform or target.environment.get(DEFAULT_PLATFORM, "")


def with_default_platform(target: DesiredProject, environment: Mapping[str, str]) -> DesiredProject:
    """Return `target` with the default platform of `environment` in each service that is built and names none.

    Raises SkiffError for a service that is built for other platforms alone.
    """
    wanted = environment.get(DEFAULT_PLATFORM)
    if not wanted:
        return target
    changed = []
    for name, service in target.services.items():
        if not service.build or service.platform:
            continue
        if service.build.platforms and wanted not in service.build.platforms:
            raise SkiffError(
                f'service "{name}" build.platforms does not support value set by {DEFAULT_PLATFORM}: {wanted}',
                "add it to build.platforms, or set platform: for the service",
            )
        changed.append(service.changed(platform=wanted))
    return target.with_services(*changed)
