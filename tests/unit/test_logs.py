"""The engine's log: levels by $SKIFF_LOG, lines for people and for systemd's journal."""

import logging
import os
import re
from pathlib import Path

import pytest

from runtime import logs
from runtime.errors import SkiffError

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def logger():
    """A logger below the root, which is as it was afterwards."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield logging.getLogger("runtime.test")
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_has_its_time_and_level(logger, capsys):
    logs.configure({})
    logger.debug("not shown")
    logger.warning("a disk is %s", "full")
    said = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} WARNING: a disk is full\n", said)


@pytest.mark.parametrize(("level", "shown"), [("debug", "dwe"), ("INFO", "we"), ("warning", "we"), ("error", "e")])
def test_the_level_says_what_is_shown(logger, capsys, level, shown):
    logs.configure({"SKIFF_LOG": level})
    for letter, log in (("d", logger.debug), ("w", logger.warning), ("e", logger.error)):
        log(letter)
    assert "".join(line[-1] for line in capsys.readouterr().err.splitlines()) == shown


def test_every_variable_of_ours_is_in_the_table_of_the_readme():
    table = (CHECKOUT / "README.md").read_text()
    code = "".join(path.read_text() for folder in ("runtime", "compose") for path in (CHECKOUT / folder).rglob("*.py"))
    assert {name for name in re.findall(r"\bSKIFF_[A-Z_]+\b", code) if f"`{name}`" not in table} == set()


def test_another_level_is_refused(logger):
    with pytest.raises(SkiffError, match="SKIFF_LOG is 'loud', which is not a log level"):
        logs.configure({"SKIFF_LOG": "loud"})


def test_the_journal_has_the_level_of_every_line(logger, capsys):
    own = os.fstat(2)
    logs.configure({"JOURNAL_STREAM": f"{own.st_dev}:{own.st_ino}"})
    logger.error("two\nlines")
    assert capsys.readouterr().err == "<3>two\n<3>lines\n"


def test_a_session_s_variable_makes_no_journal_of_a_file(logger, capsys):
    logs.configure({"JOURNAL_STREAM": "8:1"})
    logger.error("one")
    assert capsys.readouterr().err.endswith("ERROR: one\n")
