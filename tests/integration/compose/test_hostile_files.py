"""Files made to break their reader: refused with a clear message, in little memory, through the real command."""

import os
import sys

import pytest

from tests.support.hostile import COMPOSE, ODD, TEXTS, USES, folder, itself
from tests.support.measured import run_measured

MEMORY_BYTES = 200 << 20


@pytest.fixture
def refused(tmp_path):
    """Return a function that runs `config`, which must fail, and gives what it says; its memory is checked."""

    def run(*arguments, **options):
        command = [sys.executable, "-m", "compose.cli.main", *arguments, "config", "-q"]
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        done = run_measured(command, cwd=tmp_path, env=env, **options)
        assert done.status == 1, done.said
        assert "Traceback" not in done.said
        assert "internal error" not in done.said
        assert done.most_bytes <= MEMORY_BYTES
        return done.said

    return run


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_file_is_refused(tmp_path, refused, name):
    text, problem = TEXTS[name]
    (tmp_path / "compose.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    told = refused()
    assert problem in told
    assert "compose.yaml" in told
    assert len(told) < 5_000


@pytest.mark.parametrize(
    ("use", "make"),
    [
        (use, make)
        for use in ("-f", "--env-file", ".env", *USES)
        for make in ODD
        # of a .env that is a folder, or nowhere, the reference takes no notice
        if use != ".env" or make not in (folder, itself)
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_is_no_file_of_text_is_refused_wherever_a_file_is_named(tmp_path, refused, use, make):
    name = ".env" if use == ".env" else "odd"
    make(tmp_path / name)
    (tmp_path / "good.yaml").write_text(COMPOSE)
    (tmp_path / "compose.yaml").write_text(USES.get(use, COMPOSE))
    told = refused(*((use, "odd") if use.startswith("-") else ()))
    expected = (ODD[make], "not found", "can't find") if make is itself else (ODD[make],)
    assert any(each in told for each in expected), told


def test_standard_input_without_end_is_refused(refused):
    with open("/dev/zero", "rb") as endless:
        assert "more than 16 MiB" in refused("-f", "-", stdin=endless)


def test_files_that_include_each_other_doubling_with_every_level_are_refused(tmp_path, refused):
    for number in range(40):
        (tmp_path / f"{number}.yaml").write_text(f"include: [{number + 1}.yaml, {number + 1}.yaml]\n")
    (tmp_path / "40.yaml").write_text(COMPOSE)
    assert "more than 1000 files are included" in refused("-f", "0.yaml")
