import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from compose.plan.project import DesiredProject
from compose.render.picture import mermaid, svg
from compose.render.sparkline import Histories, sparkline

SERVICES = {
    "web": {
        "image": "nginx:1",
        "networks": {"front": None, "back": None},
        "ports": [{"target": 80, "published": "8080"}],
        "depends_on": {"api": {"condition": "service_healthy"}, "db": {"condition": "service_started"}},
    },
    "api": {
        "image": "api",
        "networks": {"back": None},
        "depends_on": {"migrate": {"condition": "service_completed_successfully"}},
    },
    "migrate": {"image": "api", "networks": {"back": None}, "depends_on": {"db": {"condition": "service_started"}}},
    "db": {
        "image": 'a"<b>',
        "networks": {"back": None},
        "volumes": [{"type": "volume", "source": "data", "target": "/d"}],
    },
}
MODEL = {"services": SERVICES, "networks": {"front": None, "back": None, "unused": None}, "volumes": {"data": None}}
PROJECT = DesiredProject("shop", MODEL)
SVG = "{http://www.w3.org/2000/svg}"


def boxes(text):
    """The rectangles and volumes of a picture by name: left, top, right, bottom."""
    found = {}
    for group in ET.fromstring(text).iter(f"{SVG}g"):
        shape = group.find(f"{SVG}rect")
        if shape is not None:
            x, y, width, height = (float(shape.get(key)) for key in ("x", "y", "width", "height"))
            found[group.get("data-service")] = (x, y, x + width, y + height)
        else:
            oval = group.find(f"{SVG}ellipse")
            x, y, wide = (float(oval.get(key)) for key in ("cx", "cy", "rx"))
            found[group.get("data-volume")] = (x - wide, y, x + wide, y + 30)
    return found


def test_services_stand_above_what_they_depend_on_and_volumes_below_all():
    found = boxes(svg(PROJECT))
    assert set(found) == {*SERVICES, "data"}
    order = ["web", "api", "migrate", "db", "data"]
    assert [found[name][3] < found[after][1] for name, after in pairwise(order)] == [True] * 4


@pytest.mark.parametrize("count", [1, 7, 40])
def test_no_boxes_overlap_and_all_are_within_the_picture(count):
    names = [f"service-{number}" for number in range(count)]
    services = {
        name: {
            "image": "x" * (number % 30),
            "depends_on": {names[other]: {} for other in range(number) if (number * 7 + other * 3) % 5 == 0},
        }
        for number, name in enumerate(names)
    }
    text = svg(DesiredProject("many", {"services": services}))
    _, _, width, height = map(float, ET.fromstring(text).get("viewBox").split())
    found = list(boxes(text).values())
    assert len(found) == count
    for number, (left, top, right, bottom) in enumerate(found):
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height
        for other in found[number + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_conditions_networks_and_states_are_shown_and_markup_is_escaped():
    text = svg(PROJECT, {"web": "unhealthy"})
    words = {element.text for element in ET.fromstring(text).iter(f"{SVG}text")}
    assert {"healthy", "completed", "front", "back", "8080:80", 'a"<b>'} <= words
    assert "unused" not in words
    assert "web: unhealthy" in text
    assert "#fee2e2" in text
    only_default = DesiredProject("one", {"services": {"a": {"image": "x", "networks": {"default": None}}}})
    assert "default" not in svg(only_default)
    assert svg(DesiredProject("none", {"services": {}})).startswith("<svg")


def test_mermaid_has_the_same():
    lines = mermaid(PROJECT).splitlines()
    assert lines[0] == "flowchart TD"
    assert '  s0["web<br/>nginx:1<br/>8080:80"]' in lines
    assert "  s0 -->|healthy| s1" in lines
    assert "  s1 -->|completed| s2" in lines
    assert "  s3 --- v0" in lines
    assert '  v0[("data")]' in lines
    assert "  s0 -.- n0" in lines
    assert '  s3["db<br/>a&quot;&lt;b&gt;"]' in lines


def test_a_line_of_blocks_shows_the_last_values():
    assert sparkline([0, 50, 100], 100) == "▁▅█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    histories = Histories()
    assert [histories.add("a", value) for value in (1.0, 2.0)][-1] == "▅█"
    assert len([histories.add("a", 1.0) for _ in range(99)][-1]) == 24
