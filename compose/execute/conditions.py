"""Waiting for containers: started, healthy, completed. Told by the engine's events, not by asking again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.client import Client
from runtime.errors import SkiffError

LAST_LINES = 10


def wait_healthy(
    client: Client, names: Sequence[str], *, strict: bool = True, tell: Callable[[str], None] | None = None
) -> None:
    """Return when every container is healthy; one without a health check when it runs.

    Raises SkiffError, with the last probe and the last log lines, when one turns unhealthy or ends. With `strict` a
    container that ended well (exit code 0) is a failure too.
    """
    waiting = set(names)
    if not waiting:
        return
    with client.events({"type": ["container"], "event": ["health_status", "die", "start"]}) as events:
        for name in list(waiting):
            if _is_ready(client, name, strict):
                waiting.discard(name)
                if tell is not None:
                    tell(name)
        if not waiting:
            return
        for event in events.documents():
            name = event["Actor"]["Attributes"].get("name", "")
            if name in waiting and _is_ready(client, name, strict):
                waiting.discard(name)
                if tell is not None:
                    tell(name)
                if not waiting:
                    return
    raise SkiffError(f"the engine hung up while {', '.join(sorted(waiting))} was waited for")


def _is_ready(client: Client, name: str, strict: bool) -> bool:
    state = client.container(name)["State"]
    health = state.get("Health")
    if not state["Running"] and not state.get("Restarting"):
        if state["ExitCode"] == 0 and not strict:
            return True
        raise SkiffError(f"container {name} exited ({state['ExitCode']})" + _last_log(client, name))
    if health is None:
        return bool(state["Running"])
    if health["Status"] == "unhealthy":
        raise SkiffError(f"container {name} is unhealthy" + _last_probe(health) + _last_log(client, name))
    return bool(health["Status"] == "healthy")


def _last_probe(health: dict[str, object]) -> str:
    log = health.get("Log")
    if not isinstance(log, list) or not log:
        return ""
    probe = log[-1]
    output = str(probe.get("Output") or "").strip() or "(no output)"
    shown = "\n".join(f"      {line}" for line in output.splitlines()[-LAST_LINES:])
    tries = health.get("FailingStreak")
    return f"\n    last probe: exit code {probe.get('ExitCode')}, {tries} failed in a row, it printed:\n{shown}"


def _last_log(client: Client, name: str) -> str:
    with client.logs(name, tail=LAST_LINES) as stream:
        text = b"".join(data for _, data in stream.frames()).decode(errors="replace").rstrip()
    if not text:
        return "\n    it logged nothing"
    shown = "\n".join(f"      {line}" for line in text.splitlines())
    return f"\n    its last log lines:\n{shown}"


def wait_completed(client: Client, name: str) -> None:
    """Return when the container ended with exit code 0. Raises SkiffError when with another."""
    code = client.wait(name)
    if code:
        raise SkiffError(f"service {name!r} didn't complete successfully: exit {code}" + _last_log(client, name))
