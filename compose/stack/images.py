"""Images by their names, of no project: pulled and pushed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compose.events import step, work
from compose.execute.transfer import measure

if TYPE_CHECKING:
    from compose.stack.context import Context


def pull(context: Context, names: Sequence[str], platform: str | None = None) -> None:
    """Pull images, one after the other. Raises SkiffError."""
    with work(context.emit):
        for name in names:
            with step(context.emit, "pull", name):
                measure(context.emit, "pull", name, () if context.dry_run else context.client.pull(name, platform))


def push(context: Context, names: Sequence[str]) -> None:
    """Push images, one after the other. Raises SkiffError."""
    with work(context.emit):
        for name in names:
            with step(context.emit, "push", name):
                measure(context.emit, "push", name, () if context.dry_run else context.client.push(name))
