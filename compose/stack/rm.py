"""`rm`: stopped containers are removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compose.stack.checkouts import check_checkout
from compose.stack.context import Question, UnansweredError
from compose.stack.each import for_each
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context


@dataclass(frozen=True)
class RemoveRequest:
    """Which services' containers to remove (none named: all).

    `stop` stops those that run first, `volumes` removes anonymous volumes as well, `assume_yes` asks no question.
    """

    services: Sequence[str] = ()
    stop: bool = False
    volumes: bool = False
    assume_yes: bool = False


def remove(context: Context, project: DesiredProject, request: RemoveRequest) -> None:
    """Remove containers that do not run, once that is confirmed. Raises SkiffError when nobody answers."""
    found = context.own_containers(project, request.services)
    check_checkout(project, found)
    if request.stop:
        from compose.stack.stop import stop_containers

        stop_containers(context, project, found, None)
    chosen = [container for container in found if request.stop or not container.is_alive]
    if not chosen:
        context.warn("No stopped containers")
        return
    names = ", ".join(container.name for container in chosen)
    if not request.assume_yes and not _is_confirmed(context, f"? Going to remove {names}"):
        return
    for_each(context, "remove", chosen, lambda one: context.client.remove(one.id, force=True, volumes=request.volumes))


def _is_confirmed(context: Context, question: str) -> bool:
    try:
        return context.ask(Question(question))
    except UnansweredError:
        raise SkiffError("nothing was removed: nobody confirmed it", "--force removes without asking") from None
