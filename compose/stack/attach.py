"""`attach`: the streams of a container that runs."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.console import Console, Resize
    from compose.stack.context import Context


@dataclass(frozen=True)
class AttachRequest:
    """The container of `service` (number `index`, 0: the first that runs), and how to attach to it.

    `detach_keys` end the attachment ("": the engine's own keys). With `passes_signals` signals reach its process.
    """

    service: str
    index: int = 0
    takes_input: bool = True
    passes_signals: bool = True
    detach_keys: str = ""


def attach(context: Context, project: DesiredProject, request: AttachRequest, console: Console) -> int:
    """Attach `console` until the output ends; return the exit code, 0 while it still runs. Raises SkiffError."""
    client = context.client
    id = context.one_container(project, request.service, request.index).id
    config = client.container(id)["Config"]
    takes_input = bool(config["OpenStdin"]) and request.takes_input
    query = {"detachKeys": request.detach_keys} if request.detach_keys else {}
    resize: Resize | None = None
    if config["Tty"] and takes_input:

        def resize(rows: int, columns: int) -> None:
            client.resize(id, rows, columns)

    signals = console.signals_to(lambda signal: client.kill(id, signal)) if request.passes_signals else nullcontext()
    with client.attach(id, stdin=int(takes_input), stdout=1, stderr=1, **query) as stream, signals:
        console.converse(stream, takes_input=takes_input, resize=resize)
    state = client.container(id)["State"]
    return 0 if state["Running"] else int(state["ExitCode"])
