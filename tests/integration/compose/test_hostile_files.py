"""Files made to break whoever reads them: refused with a clear message, in little memory, through the real command."""

import os
import subprocess
import sys
from threading import Timer

import pytest

MEMORY_BYTES = 200 << 20
PATIENCE_S = 30
COMPOSE = "services: {web: {image: a}}\n"


def bomb():
    """Return nine levels of nine aliases each: 3.5 * 10^8 values."""
    lines = ["  a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    return "\n".join([COMPOSE, "x-bomb:", *lines, ""])


def merge_bomb():
    """Return mappings that take in the one before twice, in lists of lists."""
    lines = ["  a0: &a0 {k: [x, x, x, x, x, x, x, x, x]}"]
    lines += [
        f"  a{level}: &a{level} {{<<: *a{level - 1}, l: [{', '.join([f'*a{level - 1}'] * 9)}]}}"
        for level in range(1, 10)
    ]
    return "\n".join([COMPOSE, "x-bomb:", *lines, ""])


TEXTS = {
    "an alias bomb": (bomb(), "aliases make the document grow without bounds"),
    "a bomb of merge keys": (merge_bomb(), "aliases make the document grow without bounds"),
    "an alias in itself": ("x: &x\n  y: *x\n", 'anchor "x" contains itself'),
    "deep lists": ("x: " + "[" * 10_000 + "]" * 10_000, "exceeded maximum nesting depth"),
    "deep mappings": ("x: " + "{a: " * 10_000 + "}" * 10_000, "nested more than 100 levels deep"),
    "deep blocks": ("\n".join(" " * depth + "a:" for depth in range(2_000)), "nested more than 100 levels deep"),
    "deep dashes": ("x: " + "- " * 10_000, "not valid YAML"),
    "deep variables": (f"services: {{web: {{image: '{'${A:-' * 10_000 + '}' * 10_000}'}}}}", "nested more than 50 levels deep"),
    "open variables": (f"services: {{web: {{image: '{'${A:-{' * 10_000}'}}}}", "a closing brace is missing"),
    "no UTF-8": (b"services: {web: {image: \xff\xfe}}\n", "the file is not UTF-8 text"),
    "NUL bytes": (b"services: {web: {image: a\0b}}\n", "not valid YAML"),
    "a program": (b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 16, "the file is not UTF-8 text"),
    "only NUL bytes": (b"\0" * 4096, "not valid YAML"),
    "many keys that are wrong": (
        COMPOSE + "x:\n" + "".join(f"  k{number}: &k{number} {{}}\n" for number in range(20_000)) + "y: *nothing\n",
        'unknown anchor "nothing"',
    ),
    "millions of values": ("x: [" + "a," * 8_000_000 + "]", "the file has more values than a Compose file needs"),
    "a number of a million digits": ("services: {web: {image: a, scale: " + "9" * 1_000_000 + "}}", "services.web.scale"),
    "an included file in itself": ("include: [compose.yaml]\n", "the file includes itself"),
    "services in a circle": ("services: {a: {extends: b}, b: {extends: c}, c: {extends: a}}\n", "extends itself"),
    "dependencies in a circle": (
        "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}\n",
        "dependency cycle",
    ),
}  # fmt: skip


@pytest.fixture
def refused(tmp_path):
    """Return a function that runs `config`, which must fail, and gives what it says; its memory is checked."""

    def run(*arguments, stdin=subprocess.DEVNULL):
        with subprocess.Popen(
            [sys.executable, "-m", "compose.cli.main", *arguments, "config", "-q"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            guard = Timer(PATIENCE_S, process.kill)
            guard.start()
            said = process.stderr.read()
            guard.cancel()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 1, said
        assert "Traceback" not in said
        assert "internal error" not in said
        assert usage.ru_maxrss << 10 <= MEMORY_BYTES
        return said

    return run


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_file_is_refused(tmp_path, refused, name):
    text, problem = TEXTS[name]
    (tmp_path / "compose.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    told = refused()
    assert problem in told
    assert "compose.yaml" in told
    assert len(told) < 5_000


def sparse(path):
    with open(path, "wb") as file:
        file.truncate(100 << 20)


def fifo(path):
    os.mkfifo(path)


def device(path):
    os.symlink("/dev/zero", path)


def folder(path):
    path.mkdir()


def itself(path):
    os.symlink(path.name, path)


ODD = {
    sparse: "more than 16 MiB",
    fifo: "not a regular file",
    device: "not a regular file",
    folder: "not a regular file",
    itself: "Too many levels of symbolic links",
}
USES = {
    "extends": "services: {web: {extends: {file: odd, service: a}}}",
    "include": "include: [odd]",
    "the env_file of an include": "include: [{path: good.yaml, env_file: odd}]",
    "env_file": "services: {web: {image: a, env_file: odd}}",
    "label_file": "services: {web: {image: a, label_file: odd}}",
}


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
