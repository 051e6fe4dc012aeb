"""Reasons to recreate containers that do not say themselves what they were made of: the engine is asked."""

from __future__ import annotations

from dataclasses import replace

from compose.plan.differences import reason
from compose.plan.foreign import UNKNOWN, foreign_differences
from compose.plan.operations import Operation, Plan, Recreate
from compose.plan.project import DesiredProject
from runtime.client import Client
from runtime.errors import NotFoundError


def with_reasons(client: Client, target: DesiredProject, plan: Plan) -> Plan:
    """Return `plan` with the settings that changed as reasons, where the plan only knows that some did."""
    if not any(each.reason == UNKNOWN for each in plan.operations):
        return plan
    return replace(plan, operations=tuple(_explained(client, target, each) for each in plan.operations))


def _explained(client: Client, target: DesiredProject, operation: Operation) -> Operation:
    if operation.reason != UNKNOWN or not isinstance(operation.action, Recreate):
        return operation
    try:
        container = client.container(operation.action.id)
        image = client.image(container["Image"])
    except NotFoundError:
        return operation
    found = foreign_differences(target, operation.service, container, image)
    return replace(operation, reason=reason(found)) if found else operation
