"""Who may speak to the engine: the client package alone opens connections, and pure rooms do not even have a client."""

import ast
import functools
from pathlib import Path

import compose

FOLDER = Path(compose.__file__).parent
OPENING = {
    "connect",
    "connect_ex",
    "create_connection",
    "open_connection",
    "open_unix_connection",
    "connect_tcp",
    "connect_unix",
    "urlopen",
    "HTTPConnection",
    "HTTPSConnection",
}
NOT_TO_THE_ENGINE = {"watch/lock.py"}
"""It connects to another watcher, to learn its process ID (unix(7), SO_PEERCRED)."""
PURE = ("plan", "render")
MAY_KNOW = {"bodies", "client", "dockerignore", "errors", "http", "paths", "version"}
"""What of the runtime the orchestrator may import: the client, and what both sides share."""


@functools.cache
def modules():
    return [(path.relative_to(FOLDER).as_posix(), ast.parse(path.read_text())) for path in sorted(FOLDER.rglob("*.py"))]


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


def test_no_module_but_those_of_the_client_opens_a_connection():
    opening = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in OPENING)
        or (isinstance(node, ast.Name) and node.id in OPENING)
    }
    assert opening == NOT_TO_THE_ENGINE


def test_pure_rooms_have_no_client():
    found = {(name, each) for name, tree in modules() for each in imported(tree) if each.startswith("runtime.client")}
    assert found  # else nothing would be looked at
    assert not {(name, each) for name, each in found if name.startswith(PURE)}


def test_nothing_of_the_runtime_is_imported_but_its_client_and_shared_words():
    found = {each for _, tree in modules() for each in imported(tree) if each.split(".")[0] == "runtime"}
    assert {each.split(".")[1] for each in found} <= MAY_KNOW
