"""Running a service's `pre_start` hooks, each in a container of its own, before the service starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compose.execute.hooks import LAST_LINES, output_lines
from compose.plan import project as labels
from compose.plan.pre_start import KIND, hook_body, hook_image, hook_name
from compose.plan.project import DesiredProject
from runtime.client import Client
from runtime.errors import NotFoundError, SkiffError


def remove_leftovers(client: Client, project: str, service: str) -> None:
    """Remove the containers of hooks of the service that failed before."""
    about = [f"{labels.PROJECT}={project}", f"{labels.SERVICE}={service}", f"{labels.HOOK}={KIND}"]
    for row in client.containers(all=True, filters={"label": about}):
        try:
            client.remove(row["Id"], force=True, volumes=True)
        except NotFoundError:
            continue


def run_pre_start(
    client: Client,
    target: DesiredProject,
    name: str,
    container: str,
    container_of: Mapping[str, str],
    report: Callable[[str], None],
) -> None:
    """Run the `pre_start` hooks of the service in their order; `container` (ID) has the volumes that they see.

    `report` gets their output's lines. Raises SkiffError for the first that exits with another code than 0: its
    container stays for the user to look at.
    """
    remove_leftovers(client, target.name, name)
    for index in range(len(target.services[name].pre_start)):
        image_id = client.image(hook_image(target, name, index))["Id"]
        body = hook_body(target, name, index, container, image_id=image_id, container_of=container_of)
        id = client.create_container(body, name=hook_name(target, name, index))["Id"]
        try:
            client.start(id)
            lines = output_lines(client.logs(id, follow=1), report)
            code = client.wait(id)
        except BaseException:
            client.remove(id, force=True, volumes=True)
            raise
        if code:
            said = ": " + "\n      ".join(lines[-LAST_LINES:]) if lines else ""
            raise SkiffError(
                f'service "{name}" {KIND}[{index}] exited with code {code}{said} '
                f"(hook container {id[:12]} retained for inspection)",
                f"`skiff down` removes it; the next `skiff up {name}` runs the hook again",
            )
        client.remove(id, force=True, volumes=True)
