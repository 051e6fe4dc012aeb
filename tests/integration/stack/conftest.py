"""Small stacks in one engine that all these tests share; each is taken down behind its test."""

import itertools

import pytest

from tests.support.project import Project

NAMES = itertools.count(1)


@pytest.fixture(scope="session")
def stack_home(shared_home, busybox_tar):
    """The shared engine, with the image busybox:latest."""
    shared_home.skiff("image", "load", "-i", busybox_tar)
    return shared_home


@pytest.fixture
def stack(stack_home, tmp_path):
    """Makes projects: `stack(text)` writes compose.yaml with a name of its own and returns the project."""
    made = []

    def make(text, folder="", **files):
        name = f"stack{next(NAMES)}"
        project = Project.of(stack_home, tmp_path / (folder or name), f"name: {name}\n" + text, **files)
        project.name = name
        made.append(project)
        return project

    yield make
    for project in made:
        project.skiff("-p", project.name, "down", "-v", "-t", "0", "--remove-orphans", check=False)
