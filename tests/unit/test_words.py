"""Docstrings, comments, help and messages are in the words of the field, not in a dialect of ours (CONTRIBUTING.md)."""

import ast
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("compose", "runtime", "schemas", "samples")
DIALECT = {
    "anew": "again, or: recreate",
    "beside": "next to, in addition to",
    "forlorn": "orphaned",
    "heir": "successor",
    "mourn": "on_lost, reap",
    "manners": "options, behaviour",
    "hears?": "is called with, receives",
    "tells?|told": "report, say, show, pass",
    "meanwhile": "at the same time; say since when",
    "amid": "in the middle of",
    "whom": "name what it is",
    "upon": "on; merged with",
    "at hand": "available",
    "any more": "no longer",
    "come by": "obtain",
    "takes? in|taken in": "read, add, process",
    "let go": "release, close",
    "whoever|whosever": "name what it is",
    "takes? note": "record, handle",
    "stands? by": "wait",
    "of its own accord": "by itself",
    "for ever": "forever, or: without a limit",
    "to be had": "available",
    "made ahead": "made in advance, preforked",
    "in vain": "needlessly, without success",
    "lest": "so that … not",
    "goes? without saying": "implied",
    "(?:is|are|was|were) to (?:be|have|do|go)": "must, will, should",
}
WORDS = re.compile(rf"\b(?:{'|'.join(DIALECT)})\b", re.IGNORECASE)
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "schemas/compose.json")),
    *sorted((ROOT / "runtime").rglob("*.md")),
]


def prose(path):
    """Yield (line, text) of docstrings, help and messages (all strings of several words), and of comments."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value
    with path.open("rb") as file:
        yield from (
            (token.start[0], token.string)
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT
        )


def instead(word):
    """Return what to say instead of `word`."""
    return next(better for words, better in DIALECT.items() if re.fullmatch(words, word, re.IGNORECASE))


def test_there_is_something_to_read():
    assert len(SOURCES) > 100
    assert sum(1 for path in SOURCES for _ in prose(path)) > 1000


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_said_in_dialect(path):
    found = [
        f"line {line}: {word!r} ({instead(word)})"
        for line, text in prose(path)
        for word in WORDS.findall(" ".join(text.split()))
    ]
    assert not found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_are_not_in_dialect(path):
    found = WORDS.findall(" ".join(path.read_text().split()))
    assert not [f"{word!r} ({instead(word)})" for word in found]
