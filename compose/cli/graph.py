"""`graph`: writes the stack's picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Services
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.plan.project import DesiredProject

FORMATS = {"mermaid": (".mmd", ".mermaid", ".md"), "svg": (".svg",), "dot": (".dot", ".gv")}
"""How files of each format are called."""


def graph(
    ctx: typer.Context,
    services: Services = None,
    format: Annotated[
        str, typer.Option("--format", help="mermaid, svg or dot; by default what --output is called")
    ] = "",
    output: Annotated[str, typer.Option("--output", "-o", help="File to write")] = "",
    states: Annotated[bool, typer.Option("--states", help="Colour services by their states (svg)")] = False,
) -> None:
    """Write the stack's picture: services, what they depend on, networks and volumes."""
    from compose.plan.selection import select

    common: Globals = ctx.obj
    format = format or next((name for name, ends in FORMATS.items() if output.endswith(ends)), "mermaid")
    if format not in FORMATS:
        raise SkiffError(f'format value "{format}" could not be parsed', f"write one of {', '.join(FORMATS)}")
    project = common.load(services, makes_containers=False)
    project = project.only(select(project, services or ()))
    if format == "dot":
        from compose.render.viz import graph as dot

        text = dot(project, networks=True, ports=True, images=True)
    else:
        from compose.render.picture import mermaid, svg

        text = mermaid(project) if format == "mermaid" else svg(project, _states(common, project) if states else None)
    from compose.cli.output import write_whole

    if output.endswith(".md"):
        text = f"```mermaid\n{text}```\n"
    write_whole([text.encode()], output)


def _states(common: Globals, project: DesiredProject) -> dict[str, str]:
    from compose.stack.inspection import service_states

    return service_states(common.context(), project)
