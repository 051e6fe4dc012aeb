"""Which services a command is about. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from compose.plan.project import DesiredProject
from runtime.errors import SkiffError


def select(target: DesiredProject, names: Sequence[str], *, with_dependencies: bool = True) -> list[str]:
    """Return the services `names` (all when none is named) and, where wanted, all that they depend on, in file order.

    Raises SkiffError, with the nearest name, for one that the project has not.
    """
    for name in names:
        if name not in target.services:
            raise SkiffError(f"no such service: {name}", _suggestion(target, name))
    wanted = set(names or target.services)
    waiting = list(wanted) if with_dependencies else []
    while waiting:
        for other in target.services[waiting.pop()].dependencies:
            if other in target.services and other not in wanted:
                wanted.add(other)
                waiting.append(other)
    return [name for name in target.services if name in wanted]


def _suggestion(target: DesiredProject, name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, list(target.services), 1)
    return f'did you mean "{close[0]}"?' if close else f"services: {', '.join(target.services) or 'none'}"
