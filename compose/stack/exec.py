"""`exec`: a command in a container that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.console import Console, Resize
    from compose.stack.context import Context


@dataclass(frozen=True)
class ExecRequest:
    """The command to run in a container of `service` (number `index`, 0: the first that runs).

    `environment` has NAME=VALUE, or the NAME of one of the project's variables, else of the caller's. With `tty` the
    command gets a terminal, with `interactive` the caller's input; with `detach` nobody waits for it.
    """

    service: str
    command: Sequence[str]
    index: int = 0
    environment: Sequence[str] = ()
    user: str = ""
    working_directory: str = ""
    privileged: bool = False
    tty: bool = False
    interactive: bool = True
    detach: bool = False


def exec_command(context: Context, project: DesiredProject, request: ExecRequest, console: Console) -> int:
    """Run the command with `console` at its streams and return its exit code (0 with `detach`). Raises SkiffError."""
    container = context.one_container(project, request.service, request.index, oneoff=True)
    client = context.client
    is_attached = not request.detach
    id = client.exec_create(
        container.id,
        {
            "Cmd": list(request.command),
            "Env": [_variable(each, project.environment or context.environ) for each in request.environment],
            "User": request.user,
            "WorkingDir": request.working_directory,
            "Tty": request.tty,
            "Privileged": request.privileged,
            "AttachStdin": request.interactive and is_attached,
            "AttachStdout": is_attached,
            "AttachStderr": is_attached,
        },
    )
    if request.detach:
        client.exec_detached(id)
        return 0
    resize: Resize | None = None
    if request.tty:

        def resize(rows: int, columns: int) -> None:
            client.exec_resize(id, rows, columns)

    with client.exec_start(id, tty=request.tty) as stream:
        console.converse(stream, takes_input=request.interactive, resize=resize)
    return int(client.exec_inspect(id)["ExitCode"] or 0)


def _variable(entry: str, environment: Mapping[str, str]) -> str:
    """Return a variable as the engine takes it: one without a value has that of `environment`, or is taken away."""
    if entry.startswith("="):
        raise SkiffError(f"invalid environment variable: {entry}", "write -e NAME=VALUE, or -e NAME")
    return entry if "=" in entry or entry not in environment else f"{entry}={environment[entry]}"
