"""The picture of a stack: services in layers above what they depend on, their networks, and the volumes below. Pure.

The layout is Sugiyama's, in its simplest form: a layer for each distance from the services that nobody depends on,
places in a layer by the mean place of neighbours, and a bend in each layer that a long line crosses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from compose.plan.project import DesiredProject, image_name
from compose.plan.service import Service

CHARACTER, LINE = 7.2, 18.0
"""Width of a character and height of a line, of a font of 12 px."""
GAP_X, GAP_Y, MARGIN = 36.0, 70.0, 24.0
SWEEPS = 8
"""How often places are improved: more change nothing in stacks of 60 services."""
PALETTE = ("#2563eb", "#059669", "#d97706", "#9333ea", "#dc2626", "#0891b2", "#65a30d", "#db2777")
STATES = {
    "running": "#dcfce7",
    "healthy": "#dcfce7",
    "starting": "#fef9c3",
    "restarting": "#fef9c3",
    "unhealthy": "#fee2e2",
    "failed": "#fee2e2",
    "exited": "#e5e7eb",
    "missing": "#f8fafc",
}
"""Colours of services by their state."""
CONDITIONS = {"service_healthy": "healthy", "service_completed_successfully": "completed"}


@dataclass
class _Node:
    """A service, volume or bend; `x` is its middle, `y` its upper edge."""

    name: str
    layer: int
    lines: Sequence[str] = ()
    networks: Sequence[str] = ()
    kind: str = "bend"
    x: float = 0.0
    y: float = 0.0
    above: list[_Node] = field(default_factory=list)
    below: list[_Node] = field(default_factory=list)

    @property
    def width(self) -> float:
        if self.kind == "bend":
            return 4.0
        chips = CHARACTER * 0.85 * sum(len(each) + 3 for each in self.networks)
        return max(70.0, CHARACTER * max(map(len, (*self.lines, ""))) + 20, chips + 12)

    @property
    def height(self) -> float:
        if self.kind == "bend":
            return 0.0
        return LINE * (len(self.lines) + (1 if self.networks else 0)) + 12


def svg(project: DesiredProject, states: Mapping[str, str] | None = None) -> str:
    """Return the picture as SVG; `states` colours services: their states by name (of STATES)."""
    layers, lines = _layers(project)
    _place(layers)
    nodes = [node for layer in layers for node in layer]
    width = max((node.x + node.width / 2 for node in nodes), default=0.0) + MARGIN
    height = max((node.y + node.height for node in nodes), default=0.0) + MARGIN
    colours = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(_networks(project))}
    body = [
        *(_line(start, path, end, label) for start, path, end, label in lines),
        *(_box(node, colours, (states or {}).get(node.name, "")) for node in nodes if node.kind != "bend"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="ui-monospace, monospace" font-size="12" role="img">\n'
        f"<title>{escape(project.name)}</title>\n"
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#64748b"/></marker></defs>\n'
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def mermaid(project: DesiredProject) -> str:
    """Return the picture as a flow chart of Mermaid, which GitHub and many editors draw."""
    ids = {name: f"s{number}" for number, name in enumerate(project.services)}
    volumes = {key: f"v{number}" for number, key in enumerate(_volumes(project))}
    networks = {key: f"n{number}" for number, key in enumerate(_networks(project))}
    lines = ["flowchart TD"]
    for name, service in project.services.items():
        lines.append(f'  {ids[name]}["{"<br/>".join(map(_quoted, _lines_of(project, service)))}"]')
    lines += [f'  {id}[("{_quoted(key)}")]' for key, id in volumes.items()]
    lines += [f'  {id}{{{{"{_quoted(key)}"}}}}' for key, id in networks.items()]
    for name, service in project.services.items():
        for other, how in service.dependencies.items():
            if other in ids:
                label = f"|{CONDITIONS[how.condition]}| " if how.condition in CONDITIONS else " "
                lines.append(f"  {ids[name]} -->{label}{ids[other]}")
        lines += [f"  {ids[name]} --- {volumes[key]}" for key in sorted(service.volume_keys) if key in volumes]
        lines += [f"  {ids[name]} -.- {networks[key]}" for key in sorted(service.network_keys) if key in networks]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def _networks(project: DesiredProject) -> list[str]:
    """Return the networks worth showing: all, unless there is but one for everybody."""
    used = set().union(*(service.network_keys for service in project.services.values()))
    return [key for key in project.section("networks") if key in used] if used != {"default"} else []


def _volumes(project: DesiredProject) -> list[str]:
    used = set().union(*(service.volume_keys for service in project.services.values()))
    return [key for key in project.section("volumes") if key in used]


def _lines_of(project: DesiredProject, service: Service) -> list[str]:
    ports = [f"{port.published or '*'}:{port.target}" for port in service.ports]
    count = f" ×{service.replicas}" if service.replicas != 1 else ""
    return [service.name + count, image_name(project, service.name), *([" ".join(ports)] if ports else [])]


# --- layout

_Line = tuple[_Node, list[_Node], _Node, str]


def _layers(project: DesiredProject) -> tuple[list[list[_Node]], list[_Line]]:
    """Return the nodes by layer, and each line with its bends."""
    shown = set(_networks(project))
    depth = _depths(project)
    nodes = {
        name: _Node(name, depth[name], _lines_of(project, service), sorted(service.network_keys & shown), "service")
        for name, service in project.services.items()
    }
    last = max(depth.values(), default=-1) + 1
    volumes = {key: _Node(key, last, [key], kind="volume") for key in _volumes(project)}
    layers: list[list[_Node]] = [[] for _ in range(last + (1 if volumes else 0))]
    for node in (*nodes.values(), *volumes.values()):
        layers[node.layer].append(node)
    lines: list[_Line] = []
    for name, service in project.services.items():
        for other, how in service.dependencies.items():
            if other in nodes:
                lines.append(_linked(nodes[name], nodes[other], layers, CONDITIONS.get(how.condition, "")))
        for key in sorted(service.volume_keys & set(volumes)):
            lines.append(_linked(nodes[name], volumes[key], layers, ""))
    return layers, lines


def _depths(project: DesiredProject) -> dict[str, int]:
    """Return the layer of each service: one below the lowest service that depends on it."""
    found: dict[str, int] = {}
    users: dict[str, list[str]] = {name: [] for name in project.services}
    for name, service in project.services.items():
        for other in service.dependencies:
            if other in users:
                users[other].append(name)

    def depth(name: str) -> int:
        if name not in found:
            found[name] = 0
            found[name] = max((depth(user) + 1 for user in users[name]), default=0)
        return found[name]

    for name in project.services:
        depth(name)
    return found


def _linked(start: _Node, end: _Node, layers: list[list[_Node]], label: str) -> _Line:
    path = [_Node("", layer) for layer in range(start.layer + 1, end.layer)]
    for bend in path:
        layers[bend.layer].append(bend)
    chain = [start, *path, end]
    for upper, lower in pairwise(chain):
        upper.below.append(lower)
        lower.above.append(upper)
    return start, path, end, label


def _place(layers: Sequence[list[_Node]]) -> None:
    """Set the places of all nodes."""
    y = MARGIN
    for layer in layers:
        _spread(layer)
        for node in layer:
            node.y = y
        y += max((node.height for node in layer), default=0.0) + GAP_Y
    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = {}
            for number, node in enumerate(layer):
                near = (node.above if sweep % 2 == 0 else node.below) or [node]
                wanted[id(node)] = (sum(other.x for other in near) / len(near), number)
            layer.sort(key=lambda node: wanted[id(node)])
            _spread(layer, [wanted[id(node)][0] for node in layer])
    left = min((node.x - node.width / 2 for layer in layers for node in layer), default=0.0)
    for layer in layers:
        for node in layer:
            node.x += MARGIN - left


def _spread(layer: Sequence[_Node], wanted: Sequence[float] = ()) -> None:
    """Set the places in one layer, as near to the `wanted` ones as there is room."""
    right = float("-inf")
    for number, node in enumerate(layer):
        least = right + GAP_X + node.width / 2 if number else float("-inf")
        node.x = max(least, wanted[number] if wanted else number * 1.0)
        right = node.x + node.width / 2
    if wanted and layer:
        # what was pushed to the right is moved back, all together
        shift = sum(node.x - at for node, at in zip(layer, wanted, strict=True)) / len(layer)
        for node in layer:
            node.x -= shift


# --- drawing


def _box(node: _Node, colours: Mapping[str, str], state: str) -> str:
    left, width, height = node.x - node.width / 2, node.width, node.height
    if node.kind == "volume":
        curve = f"a{width / 2:.1f} 6 0 0 0 {width:.1f} 0"
        shape = (
            f'<path d="M{left:.1f} {node.y:.1f}v{height:.1f}{curve}v{-height:.1f}" fill="#f1f5f9" stroke="#64748b"/>'
            f'<ellipse cx="{node.x:.1f}" cy="{node.y:.1f}" rx="{width / 2:.1f}" ry="6" fill="#e2e8f0" stroke="#64748b"/>'
        )
    else:
        fill = STATES.get(state, "#f8fafc")
        shape = (
            f'<rect x="{left:.1f}" y="{node.y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6" fill="{fill}" '
            'stroke="#334155"/>'
        )
    title = f"<title>{escape(node.name)}{escape(': ' + state) if state else ''}</title>"
    return f'<g data-{node.kind}="{escape(node.name)}">{title}{shape}{"".join(_texts(node, colours))}</g>'


def _texts(node: _Node, colours: Mapping[str, str]) -> Iterator[str]:
    for number, text in enumerate(node.lines):
        y = node.y + LINE * (number + 1)
        style = 'font-weight="bold"' if number == 0 else 'fill="#475569"'
        yield f'<text x="{node.x:.1f}" y="{y:.1f}" text-anchor="middle" {style}>{escape(text)}</text>'
    x, y = node.x - node.width / 2 + 10, node.y + LINE * (len(node.lines) + 1)
    for network in node.networks:
        colour = colours[network]
        yield f'<circle cx="{x:.1f}" cy="{y - 4:.1f}" r="4" fill="{colour}"/>'
        yield f'<text x="{x + 7:.1f}" y="{y:.1f}" font-size="10" fill="{colour}">{escape(network)}</text>'
        x += CHARACTER * 0.85 * (len(network) + 3)


def _line(start: _Node, path: Sequence[_Node], end: _Node, label: str) -> str:
    x, y = start.x, start.y + start.height
    drawn = f"M{x:.1f} {y:.1f}"
    top = 6 if end.kind == "volume" else 0
    for node in (*path, end):
        at = node.y - (top if node is end else 0)
        drawn += f"C{x:.1f} {y + GAP_Y / 2:.1f} {node.x:.1f} {at - GAP_Y / 2:.1f} {node.x:.1f} {at:.1f}"
        x, y = node.x, node.y
    first = [*path, end][0]
    style = (
        'stroke="#94a3b8" stroke-dasharray="4 3"'
        if end.kind == "volume"
        else 'stroke="#64748b" marker-end="url(#arrow)"'
    )
    shown = (
        f'<text x="{start.x * 0.3 + first.x * 0.7 + 6:.1f}" y="{first.y - GAP_Y * 0.3:.1f}" '
        f'font-size="10" fill="#64748b">{label}</text>'
        if label
        else ""
    )
    return f'<path d="{drawn}" fill="none" {style}/>{shown}'
