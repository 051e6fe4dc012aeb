"""The graph of a project for graphviz: services, and what they depend on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from compose.plan.project import DesiredProject, image_name
from compose.plan.service import Service

SMALL, LARGE = 10, 15
"""Sizes of the font, in points."""


def graph(
    project: DesiredProject,
    *,
    networks: bool = False,
    ports: bool = False,
    images: bool = False,
    indentation: str = "\t",
) -> str:
    """Return the services of `project` and their dependencies in graphviz's language, with more of each as asked for."""
    lines = ["layout=dot;"]
    for name, service in sorted(project.services.items()):
        label = f'<font point-size="{LARGE}">{escape(name)}</font>'
        if networks:
            label += _section("Networks", sorted(service.networks))
        if ports:
            label += _section("Ports", list(_ports(service)))
        if images:
            label += _section("Image", [image_name(project, name)])
        lines.append(f'"{name}" [style="filled" label=<{label}>];')
    lines.append("")
    for name, service in sorted(project.services.items()):
        lines += [f'"{name}" -> "{other}";' for other in service.dependencies]
    body = "".join(f"{indentation}{line}\n" if line else "\n" for line in lines)
    return f'digraph "{project.name}" {{\n{body}}}\n'


def _section(title: str, entries: Iterable[str]) -> str:
    shown = "<br/>".join(escape(entry) for entry in entries)
    return f'<font point-size="{SMALL}"><br/><br/><b>{title}:</b><br/>{shown}</font>' if shown else ""


def _ports(service: Service) -> Iterator[str]:
    for port in service.ports:
        address = f"{port.host_ip}:" if port.host_ip else ""
        yield f"{address}{port.published}:{port.target} ({port.protocol}, {port.mode})"
