"""The containers of a service's `pre_start` hooks (Compose Specification, "pre_start"). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from compose.plan import project as labels
from compose.plan.container_body import container_body
from compose.plan.project import DesiredProject, image_name

if TYPE_CHECKING:
    from runtime.bodies import CreateBody

KIND = "pre_start"
OWN = ("build", "container_name", "deploy", "healthcheck", "ports", "restart", "scale", "volumes")
"""What of a service is not for its hooks; its volumes come from its container."""


def hook_image(target: DesiredProject, name: str, index: int) -> str:
    """Return the image of hook `index` of the service."""
    return target.services[name].pre_start[index].image or image_name(target, name)


def hook_name(target: DesiredProject, name: str, index: int) -> str:
    """Return the name of the container of hook `index` of the service."""
    return target.separator.join((target.name, name, KIND, str(index)))


def hook_body(
    target: DesiredProject, name: str, index: int, container: str, *, image_id: str, container_of: Mapping[str, str]
) -> CreateBody:
    """Return the body of "Create a container" for hook `index` of the service, with the volumes of `container` (ID).

    It has the service's settings and networks where the hook says nothing else, but does not answer to its name.
    """
    service = target.services[name]
    hook = service.pre_start[index].hook
    own = {key: value for key, value in service.document.items() if key not in OWN}
    own |= {"image": hook_image(target, name, index), "command": list(hook.command), "tty": False, "stdin_open": False}
    if service.pre_start[index].image:
        own.pop("entrypoint", None)
    for key, value in (("user", hook.user), ("working_dir", hook.working_directory)):
        if value:
            own[key] = value
    own["privileged"] = hook.is_privileged or service.document.get("privileged")
    own["environment"] = {**service.environment, **dict(entry.split("=", 1) for entry in hook.environment)}
    changed = target.with_services(type(service)(name, own))
    body = container_body(changed, name, 0, image_id=image_id, container_of=container_of)
    for settings in (body.get("NetworkingConfig") or {}).get("EndpointsConfig", {}).values():
        settings.pop("Aliases", None)
    kept = {labels.PROJECT, labels.SERVICE, labels.VERSION, *(service.labels or ())}
    body["Labels"] = {
        **{key: value for key, value in body["Labels"].items() if key in kept},
        labels.HOOK: KIND,
        labels.HOOK_INDEX: str(index),
    }
    body["HostConfig"]["VolumesFrom"] = [*(body["HostConfig"].get("VolumesFrom") or ()), container]
    return body
