"""Hooks of a service: commands run in its container just after its start and just before its stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from compose.plan.parts import Hook
from runtime.client import Client
from runtime.client.blocking import ResponseStream
from runtime.errors import ConflictError, NotFoundError, SkiffError

POST_START, PRE_STOP = "post_start", "pre_stop"
LAST_LINES = 10


def run_hooks(
    client: Client, hooks: Sequence[Hook], phase: str, id: str, name: str, report: Callable[[str], None]
) -> None:
    """Run a service's `hooks` of `phase` in container `id`, one after the other; `report` gets their output's lines.

    Raises SkiffError, with what it printed, for the first that exits with another code than 0 (Compose Specification,
    "post_start", "pre_stop"). `pre_stop` hooks are skipped for a container that is gone or does not run.
    """
    for number, hook in enumerate(hooks):
        try:
            code, lines = run_hook(client, hook, id, report)
        except (NotFoundError, ConflictError):
            if phase == PRE_STOP:
                return
            raise
        if code:
            shown = "".join(f"\n      {line}" for line in lines[-LAST_LINES:]) or " (nothing)"
            raise SkiffError(
                f"container {name}: {phase} hook {number + 1} exited with status {code}",
                f"it ran {hook.shown()}, and printed:{shown}",
            )


def run_hook(client: Client, hook: Hook, id: str, report: Callable[[str], None]) -> tuple[int, list[str]]:
    """Run one hook in container `id`; return its exit code and the lines of its output, which `report` got one by one."""
    command = hook.command
    made = client.exec_create(
        id,
        {
            "Cmd": ["/bin/sh", "-c", command] if isinstance(command, str) else list(command),
            "User": hook.user,
            "Privileged": hook.is_privileged,
            "WorkingDir": hook.working_directory,
            "Env": list(hook.environment),
            "AttachStdout": True,
            "AttachStderr": True,
        },
    )
    lines = output_lines(client.exec_start(made), report)
    return int(client.exec_inspect(made)["ExitCode"] or 0), lines


def output_lines(output: ResponseStream, report: Callable[[str], None]) -> list[str]:
    """Return the lines of `output`, read to its end and closed; `report` gets each as it comes."""
    lines: list[str] = []
    rest = b""
    with output as stream:
        for _, data in stream.frames():
            *complete, rest = (rest + data).split(b"\n")
            for line in complete:
                lines.append(line.decode(errors="replace"))
                report(lines[-1])
    if rest:
        lines.append(rest.decode(errors="replace"))
        report(lines[-1])
    return lines
