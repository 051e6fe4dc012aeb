"""Variables that files give: .env files, an included file's own, the files of services."""

import pytest

from compose.errors import ConfigError
from compose.loading import LoadOptions, load
from tests.support.folder import Folder
from tests.support.models import loaded, refusal


def test_in_several_env_files_what_a_file_has_set_itself_comes_before_the_files_before_it(tmp_path):
    (tmp_path / "first").write_text("A=1\nKEPT=first\n")
    (tmp_path / "second").write_text("A=2\nB=$A\nC=${KEPT}\n")
    text = 'services: {w: {image: "$A-$B-$C"}}'
    named = (str(tmp_path / "first"), str(tmp_path / "second"))
    assert loaded(tmp_path, text, env_files=named).services["w"].config["image"] == "2-2-first"
    assert loaded(tmp_path, text, {"A": "9"}, env_files=named).services["w"].config["image"] == "9-9-first"


def test_configs_and_secrets_of_an_included_file_are_of_its_own_variables(tmp_path):
    Folder(tmp_path).file("inner/own.env", "TOKEN=inner\n").file(
        "inner/compose.yaml",
        "services: {b: {image: i, secrets: [s], configs: [c]}}\n"
        "secrets: {s: {environment: TOKEN}}\nconfigs: {c: {environment: TOKEN}}\n",
    )
    text = (
        "include: [{path: inner/compose.yaml, env_file: inner/own.env}]\n"
        "services: {a: {image: i, secrets: [own]}}\nsecrets: {own: {environment: TOKEN}, unset: {environment: NONE}}\n"
    )
    project = loaded(tmp_path, text, {})
    assert project.values == {("secrets", "s"): "inner", ("configs", "c"): "inner"}
    assert project.configs["c"] == {"name": "demo_c", "environment": "TOKEN"}
    outer = loaded(tmp_path, text, {"TOKEN": "outer"})
    assert set(outer.values.values()) == {"outer"}


@pytest.mark.parametrize("name", ["${UNSET}", "---", "${UNSET:-}-"])
def test_a_project_whose_name_comes_to_nothing_is_refused_and_not_called_otherwise(tmp_path, name):
    (tmp_path / "compose.yaml").write_text(f"name: {name}\nservices: {{w: {{image: i}}}}\n")
    with pytest.raises(ConfigError, match=r"compose\.yaml:1:7: the project has no name"):
        load(LoadOptions(str(tmp_path)), {})
    assert load(LoadOptions(str(tmp_path), project_name="given"), {}).name == "given"


TWO = "services: {a: {image: i}, b: {image: i, env_file: [gone.env], depends_on: [a]}}"


def test_a_file_of_variables_is_missed_only_where_it_is_wanted(tmp_path):
    assert "env file gone.env not found" in refusal(tmp_path, TWO)
    assert "env file gone.env not found" in refusal(tmp_path, TWO, services=("b",))
    assert list(loaded(tmp_path, TWO, services=("a",)).services) == ["a"]
    assert list(loaded(tmp_path, TWO, resolve_environment=False).services) == ["a", "b"]
