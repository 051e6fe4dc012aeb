"""`plan`: what `up` would change, and why, without a change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from compose.events import Planned
from compose.stack.checkouts import check_checkout

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject
    from compose.stack.context import Context
    from compose.stack.up import UpRequest


def planned(context: Context, project: DesiredProject, request: UpRequest) -> Iterator[Planned]:
    """Yield what `up` with `request` would change, in its order; what is found later (a built image) is said as well.

    Raises SkiffError for what `up` would refuse before it begins.
    """
    from compose.execute.observe import observe
    from compose.execute.reasons import with_reasons
    from compose.plan.providing import provided
    from compose.plan.refusals import check_ports
    from compose.plan.resources import diverged
    from compose.plan.selection import select
    from compose.plan.summary import changes, done
    from compose.plan.up import plan_up

    options = request.options
    names = select(project, options.services, with_dependencies=options.with_dependencies)
    observed = observe(context.client, project)
    check_checkout(project, observed.containers)
    check_ports(project, names, options.scale)
    wanted = request.images.plan(project, observed, names)
    yield from changes(wanted)
    for name in provided(project, names):
        yield Planned(name, "its provider says what it sets", "run")
    if not options.no_recreate:
        found = diverged(project, observed)
        options = dataclasses.replace(options, recreate_networks=found.networks)
        for key in sorted(found.volumes):
            yield Planned(f"volume {key}", "its configuration changed", "recreate if you agree, its data is lost")
    plan = with_reasons(context.client, project, plan_up(project, observed, options))
    yield from changes(plan)
    yield from done(plan)
    touched = {operation.service for operation in plan.operations}
    for operation in wanted.operations:
        for name in names:
            uses = project.services[name].image == operation.name or operation.service == name
            if uses and name not in touched and operation.name in observed.images:
                yield Planned(name, f"if the image {operation.name} is another then", "recreate")
