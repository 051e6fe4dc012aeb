"""Names, docstrings, comments, help, messages and pages are in the words of the field (CONTRIBUTING.md)."""

import ast
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("compose", "runtime", "schemas", "samples", "tests", ".ci")
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
# in the text of a program: a name may contain it, and a phrase may go on in the next line, behind "#" or a quote
BETWEEN = r"""(?:[^A-Za-z0-9]|[A-Za-z]{1,2}(?=["']))+"""
ANYWHERE = re.compile(rf"(?<![^\W_])(?:{'|'.join(DIALECT).replace(' ', BETWEEN)})(?![^\W_])", re.IGNORECASE)
SOURCES = [
    path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if path != Path(__file__).resolve()
]
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(ROOT / name for name in ("schemas/compose.json", "Makefile", "pyproject.toml", ".importlinter")),
    *sorted((ROOT / "runtime").rglob("*.md")),
    *(path for path in sorted((ROOT / ".ci").iterdir()) if path.is_file() and path.suffix != ".py"),
    *(path for path in sorted((ROOT / "samples").rglob("*")) if path.is_file() and path.suffix not in (".py", ".pyc")),
    *sorted((ROOT / "findings").iterdir()),
]


def prose(path):
    """Yield (line, text) of docstrings, help and messages (all strings of several words), of comments and of names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, re.sub("_|(?<=[a-z])(?=[A-Z])", " ", node.name)
    with path.open("rb") as file:
        yield from (
            (token.start[0], token.string)
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT
        )


def found_in(path):
    """Return each word of dialect in a Python file, with its line and with what to say instead."""
    if not ANYWHERE.search(path.read_text()):
        return []  # most files: to tell names, comments and strings from other code takes long
    return [
        f"line {line}: {word!r} ({instead(word)})"
        for line, text in prose(path)
        for word in WORDS.findall(" ".join(text.split()))
    ]


def instead(word):
    """Return what to say instead of `word`."""
    return next(better for words, better in DIALECT.items() if re.fullmatch(words, word, re.IGNORECASE))


@pytest.mark.parametrize(
    "text",
    [
        '"""Made anew."""',
        "x = 1  # made anew",
        'f("no "\n  f"{1} is any "\n  f"more")',
        'f("it is to "\n  "be")',
        "async def test_it_is_made_anew(): ...",
        "class Forlorn: ...",
        "class A:\n    def mourn(self): ...",
    ],
)
def test_dialect_is_found(tmp_path, text):
    (tmp_path / "a.py").write_text(text)
    assert len(found_in(tmp_path / "a.py")) == 1


def test_there_is_something_to_read():
    assert len(SOURCES) > 700
    assert len(PAGES) > 20
    some = SOURCES[::100]
    assert sum(1 for path in some for _ in prose(path)) > len(some)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_said_in_dialect(path):
    assert not found_in(path)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pages_are_not_in_dialect(path):
    # but for the table of what to avoid
    text = re.sub(r"\| avoid \| prefer \|\n(\|.*\n)+", "", path.read_text())
    found = WORDS.findall(" ".join(text.split()))
    assert not [f"{word!r} ({instead(word)})" for word in found]
