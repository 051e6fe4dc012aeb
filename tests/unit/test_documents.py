"""What the pages about the code say of it: files that they name exist, and the wire has the requests that they list."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "runtime/keeper/WIRE.md", "runtime/store/STATE.md")
PATH = re.compile(r"`((?:compose|runtime|tests|schemas|samples)/[\w/.]+)`")
LINK = re.compile(r"\]\(((?!https?:)[^)#]+)")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page):
    text = (ROOT / page).read_text()
    named = {name.rstrip("/.") for name in PATH.findall(text)}
    assert not {name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()}
    links = {(ROOT / page).parent / link for link in LINK.findall(text)}
    assert not {link for link in links if not link.exists()}


def test_the_page_of_the_wire_lists_the_requests_of_the_keeper():
    handled = set(re.findall(r'"(\w+)": self\.do_\w+', (ROOT / "runtime/keeper/loop.py").read_text()))
    listed = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "runtime/keeper/WIRE.md").read_text(), re.MULTILINE))
    assert len(handled) > 10
    assert listed == handled
