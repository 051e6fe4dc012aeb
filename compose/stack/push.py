"""`push`: the images that services build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.events import Note, StateChanged, step, work
from compose.execute.transfer import measure
from compose.plan.selection import select
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


@dataclass(frozen=True)
class PushRequest:
    """Which services' images to push (none named: all), with those of dependencies where that is wanted."""

    services: Sequence[str] = ()
    with_dependencies: bool = False
    ignore_failures: bool = False


def push(context: Context, project: DesiredProject, request: PushRequest) -> None:
    """Push images. Raises SkiffError for the first that fails, unless failures are ignored."""
    with work(context.emit):
        names = select(project, request.services, with_dependencies=request.with_dependencies)
        push_images(context, project, names, ignore_failures=request.ignore_failures)


def push_images(context: Context, project: DesiredProject, names: Sequence[str], *, ignore_failures: bool) -> None:
    """Push what the services `names` build and give a name. Raises SkiffError for the first that fails."""
    pushed: set[str] = set()
    for name in names:
        service = project.services[name]
        image = service.image
        if not service.build or not image:
            context.emit(StateChanged("Image", image or name, "Skipped"))
            continue
        for wanted in (image, *service.build.tags):
            if wanted in pushed:
                continue
            pushed.add(wanted)
            try:
                _push(context, wanted)
            except SkiffError as error:
                if not ignore_failures:
                    raise
                context.emit(Note(f"WARN {error}"))


def _push(context: Context, image: str) -> None:
    with step(context.emit, "push", image):
        measure(context.emit, "push", image, () if context.dry_run else context.client.push(image))
