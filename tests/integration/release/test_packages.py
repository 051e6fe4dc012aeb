"""What is released: a source archive, and the wheel that it makes, in an environment that has nothing else of Skiff."""

import os
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.commands import run

ROOT = Path(__file__).parents[3]

COMPOSE = "services: {web: {image: busybox, command: [echo, hello]}}"


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel and nothing else of ours; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # a directory named here is searched, yet .pth files in it are not read: our editable install stays unseen
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def test_the_wheel_has_all_of_the_program_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        pages = {name for name in names if ".data/data/share/man/man1/" in name}
        manual = archive.read(next(name for name in pages if name.endswith("/skiff-up.1"))).decode()
    names -= pages
    assert len(pages) > 40
    assert ".SH EXAMPLES" in manual
    assert "\\-\\-force\\-recreate" in manual
    assert {name.split("/")[0] for name in names} == {"compose", "runtime", "schemas"}
    assert {"compose/py.typed", "runtime/py.typed", "schemas/compose.json", "runtime/_version.py"} <= names
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "compose").rglob("*.py")}
    assert sources <= names


def test_what_is_installed_runs_by_its_own_version(installed, wheel, tmp_path):
    version = wheel.name.split("-")[1]
    assert run(installed / "bin/skiff", "--version") == f"Skiff version {version}\n"
    assert f"skiff oci version {version}" in run(installed / "bin/skiff-oci", "--version")
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    assert "image: busybox" in run(installed / "bin/skiff", "config", cwd=tmp_path)
    where = run(installed / "bin/python", "-c", "import compose; print(compose.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed))


@pytest.mark.parametrize(("tag", "version"), [("v1.2.3", "1.2.3"), (None, "0.1.0.dev1")], ids=["tagged", "untagged"])
def test_the_version_is_that_of_the_tag_and_without_one_of_a_development(tree, tmp_path, tag, version):
    run("cp", "-r", f"{tree}/.", tmp_path)
    identity = {
        f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    git = {"cwd": tmp_path, "env": {**os.environ, **identity}}
    run("git", "init", "-q", **git)
    run("git", "add", ".", **git)
    run("git", "commit", "-q", "-m", "all", **git)
    if tag:
        run("git", "tag", tag, **git)
    assert run(sys.executable, "-m", "hatchling", "version", cwd=tmp_path).strip() == version
