"""A class name stands for one thing: no two classes of the code base have the same (nested ones aside)."""

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("compose", "runtime", "schemas")


def doubles(sources):
    """Return the names of classes that are defined more than once in `sources` (text by place), with their places."""
    places = defaultdict(list)
    for place, text in sources.items():
        for name in re.findall(r"^class (\w+)", text, re.MULTILINE):
            places[name].append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_a_class_name_is_there_once():
    sources = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
    }
    assert len(sources) > 300
    assert doubles(sources) == {}


def test_a_name_that_is_there_twice_is_found():
    assert doubles({"a": "class Link: ...", "b": "class Link: ...\nclass Other: ..."}) == {"Link": ["a", "b"]}
