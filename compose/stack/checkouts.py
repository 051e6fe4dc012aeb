"""Two folders of one name are one project to the engine: that is noticed before the other's stack is touched."""

from __future__ import annotations

import os
from collections.abc import Iterable

from compose.plan.project import CONFIG_FILES, WORKING_DIR, DesiredProject, ObservedContainer
from runtime.errors import SkiffError


def check_checkout(project: DesiredProject, containers: Iterable[ObservedContainer]) -> None:
    """Raise SkiffError for containers that another folder of the same name made, and whose files are still there.

    A name that somebody gave (`name:`, -p, COMPOSE_PROJECT_NAME) is meant, from whatever folder.
    """
    if not project.is_named_by_folder:
        return
    here = project.working_directory
    for container in containers:
        other = container.labels.get(WORKING_DIR, "")
        files = container.labels.get(CONFIG_FILES, "").split(",")
        if other and not _is_same(other, here) and any(map(os.path.isfile, files)):
            raise SkiffError(
                f'the project "{project.name}" has been brought up from another folder of this name: {other} '
                f"(container {container.name}); this one is {here}",
                "give this one a name of its own, as the first line of its file: `name: ANOTHER`; "
                f"to go on with the other's containers from here: `-p {project.name}`",
            )


def _is_same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
