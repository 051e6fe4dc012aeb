"""What a plan changes, for people: one line for each service, network, volume and image, with the reason. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compose.events import Planned
from compose.plan import operations as plan
from compose.plan.operations import Operation, Plan

NEW = ("it is missing",)
"""The reason for what is made because it is not there: `up` shows that as progress alone."""
MADE = (plan.Create, plan.Recreate)


def changes(wanted: Plan) -> list[Planned]:
    """Return the changes of the plan in its order; containers of one service with one reason share a line."""
    counted: dict[Planned, int] = {}
    for change in _changes(wanted.operations):
        counted[change] = counted.get(change, 0) + 1
    return [_counted(change, count) for change, count in counted.items()]


def surprises(wanted: Plan) -> list[Planned]:
    """Return the changes whose reason is not obvious: all but creating what is missing, and starting what is stopped."""
    return [each for each in changes(wanted) if each.reason not in NEW and each.action not in ("start", "build")]


def done(wanted: Plan) -> list[Planned]:
    """Return a line for each one-shot that is not run again: docker compose would run it."""
    text = "it has completed, and nothing of it changed"
    return [Planned(service, text, "not run again (--rerun does)") for service in dict.fromkeys(wanted.done.values())]


def _counted(change: Planned, count: int) -> Planned:
    return change if count == 1 else change._replace(subject=f"{change.subject} ({count} containers)")


def _changes(operations: Sequence[Operation]) -> Iterator[Planned]:
    made = {(each.service, each.action.number) for each in operations if isinstance(each.action, MADE)}
    stopped = {each.name for each in operations if isinstance(each.action, plan.Stop)}
    started = {each.name for each in operations if isinstance(each.action, plan.Start)}
    moved = {each.name for each in operations if isinstance(each.action, plan.Connect)}
    recreated = {each.name for each in operations if isinstance(each.action, plan.RemoveNetwork | plan.RemoveVolume)}
    for operation in operations:
        name, service = operation.name, operation.service
        action = operation.kind.value
        match operation.action:
            case plan.Await() | plan.Milestone() | plan.PreStart() | plan.Disconnect():
                continue
            case plan.Start(number) if (service, number) in made or name in stopped:
                continue
            case plan.Stop() if name in started and name not in moved:
                action = "restart"
            case plan.Stop() if name in moved:
                continue
            case plan.Connect():
                action = "move"
            case plan.RemoveNetwork() | plan.RemoveVolume():
                continue
            case plan.CreateNetwork() | plan.CreateVolume():
                action = "recreate" if name in recreated else "create"
        yield Planned(_subject(operation), operation.reason, action)


def _subject(operation: Operation) -> str:
    match operation.action:
        case plan.CreateNetwork(network):
            return f"network {network}"
        case plan.CreateVolume(volume):
            return f"volume {volume}"
        case plan.Remove():
            return operation.name
    return operation.service or operation.name
