"""A project is loaded without any command line: by files, by a name alone, and with the caller's environment."""

import subprocess
import sys

import pytest

from compose.errors import ConfigError
from compose.stack.source import Loader, ProjectSource

FILE = "name: shop\nservices: {web: {image: 'nginx:${TAG:-1}'}, tool: {image: tool, profiles: [tools]}}\n"


def loader(environ=(), **source):
    warnings = []
    made = Loader(ProjectSource(**source), {"HOME": "/root", **dict(environ)}, nobody, warnings.append)
    return made, warnings


def nobody():
    raise AssertionError("the engine's address is not needed")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "compose.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_become_the_project(folder):
    project = loader({"TAG": "2"})[0].load()
    assert (project.name, list(project.services), project.disabled) == ("shop", ["web"], ("tool",))
    assert project.services["web"].image == "nginx:2"
    assert project.config_files == (str(folder / "compose.yaml"),)


def test_a_service_that_is_named_enables_its_profile():
    assert list(loader()[0].load(["tool"]).services) == ["tool"]


def test_a_name_alone_means_what_runs_under_it_whatever_files_are_here():
    project, has_files = loader(project_name="other")[0].load_or_name()
    assert (project.name, dict(project.services), has_files) == ("other", {}, False)


def test_a_name_of_the_environment_counts_only_where_there_are_no_files(folder):
    named = {"COMPOSE_PROJECT_NAME": "other"}
    assert loader(named)[0].load_or_name()[1]
    (folder / "compose.yaml").unlink()
    project, has_files = loader(named)[0].load_or_name()
    assert (project.name, has_files) == ("other", False)
    with pytest.raises(ConfigError):
        loader()[0].load_or_name()


def test_standard_input_is_what_the_caller_says(folder):
    asked = []

    def read(limit_bytes):
        asked.append(limit_bytes)
        return b"name: piped\nservices: {a: {image: b}}\n"

    assert loader(files=("-",), standard_input=read)[0].load().name == "piped"
    assert len(asked) == 1


def test_warnings_go_to_the_caller(folder):
    (folder / "compose.yaml").write_text("services: {web: {image: '${UNSET}x'}}\n")
    made, warnings = loader()
    made.load()
    assert any("UNSET" in warning for warning in warnings)


def test_settings_come_from_the_environment_and_else_from_the_project_s_env_file(folder):
    (folder / ".env").write_text("COMPOSE_REMOVE_ORPHANS=yes\nCOMPOSE_IGNORE_ORPHANS=no\n")
    made, _ = loader({"COMPOSE_IGNORE_ORPHANS": "1"})
    assert not made.is_set("COMPOSE_REMOVE_ORPHANS")
    made.load()
    assert made.is_set("COMPOSE_REMOVE_ORPHANS")
    assert made.is_set("COMPOSE_IGNORE_ORPHANS")


WITHOUT_A_TERMINAL = """
import importlib, pkgutil, sys
import compose.stack
for module in pkgutil.iter_modules(compose.stack.__path__):
    importlib.import_module(f"compose.stack.{module.name}")
unwanted = ("typer", "click", "compose.cli", "compose.render")
found = [name for name in sys.modules if name.startswith(unwanted)]
assert not found, found
"""


def test_use_cases_load_neither_the_command_line_nor_what_draws():
    subprocess.run([sys.executable, "-c", WITHOUT_A_TERMINAL], check=True)
