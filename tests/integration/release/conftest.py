"""What is released, built once for all tests of it."""

import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.commands import run

ROOT = Path(__file__).parents[3]


def build(kind, source, out):
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", out, cwd=source)
    (found,) = Path(out).glob({"sdist": "*.tar.gz", "wheel": "*.whl"}[kind])
    return found


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """The files that git has, without git: what an archive of the repository holds."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("compose", "runtime", "schemas"):
        run("cp", "-r", ROOT / name, folder)
    run(
        "cp",
        *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore")),
        folder,
    )
    (folder / ".ci").mkdir()
    run("cp", ROOT / ".ci/manual_pages.py", folder / ".ci")
    return folder


@pytest.fixture(scope="session")
def wheel(tree, tmp_path_factory):
    """A wheel made of the source archive."""
    out = tmp_path_factory.mktemp("out")
    archive = build("sdist", tree, out)
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    return build("wheel", out / archive.name.removesuffix(".tar.gz"), out)
