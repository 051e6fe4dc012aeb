"""Which files, folder, name, variables and profiles a project has, through the real `skiff config`."""

import pytest

from tests.support.folder import Folder


def service(image, **more):
    lines = [f"    {key}: {value}" for key, value in more.items()]
    return "\n".join(["services:", "  web:", f"    image: {image}", *lines, ""])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "project").mkdir()
    return Folder(tmp_path / "project")


def image(model):
    return model["services"]["web"]["image"]


# --- files


def test_the_first_of_the_known_names_is_used(folder):
    for name in ("docker-compose.yaml", "docker-compose.yml", "compose.yml", "compose.yaml"):
        folder.file(name, service(name))
        done = folder.run("config", "--images")
        assert done.stdout == f"{name}\n"
    assert done.stderr.startswith("found compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml: the first")


@pytest.mark.parametrize(
    "name",
    [
        "compose.override.yml",
        "compose.override.yaml",
        "docker-compose.override.yml",
        "docker-compose.override.yaml",
    ],
)
def test_an_override_file_is_merged(folder, name):
    folder.file("compose.yaml", service("a")).file(name, service("b"))
    assert image(folder.config()) == "b"


def test_parent_folders_are_searched(folder):
    folder.file("compose.yaml", service("above")).file("sub/deep/x", "")
    found = folder.config(cwd="sub/deep")
    assert image(found) == "above"
    assert found["name"] == "project"


def test_no_file_anywhere_is_reported(folder):
    told = folder.refusal()
    assert "no Compose file in" in told
    assert "compose.yaml" in told


def test_several_files_are_merged_in_order_and_the_first_gives_the_folder(folder):
    folder.file("one/a.yaml", service("a", volumes='["./x:/x"]')).file("two/b.yaml", service("b", working_dir="/w"))
    found = folder.config("-f", "one/a.yaml", "-f", "two/b.yaml")
    assert image(found) == "b"
    assert found["services"]["web"]["volumes"][0]["source"] == str(folder.path / "one/x")
    assert found["name"] == "one"


def test_standard_input_is_a_file(folder):
    done = folder.config("-f", "-", input=service("piped", volumes='["./x:/x"]'))
    assert image(done) == "piped"
    assert done["services"]["web"]["volumes"][0]["source"] == str(folder.path / "x")
    assert image(folder.config(COMPOSE_FILE="-", input=service("too"))) == "too"


def test_missing_files_are_all_reported_with_who_names_them(folder):
    told = folder.refusal("-f", "a.yaml", "-f", "b.yaml")
    assert "can't find a.yaml" in told
    assert "can't find b.yaml" in told
    assert "-f names it" in told
    folder.file(".env", "X=1\nCOMPOSE_FILE=no.yaml\n")
    told = folder.refusal()
    assert "can't find no.yaml" in told
    assert "COMPOSE_FILE of .env:2 names it" in told


def test_compose_file_names_several_with_a_separator(folder):
    folder.file("a.yaml", service("a")).file("b.yaml", service("b"))
    assert image(folder.config(COMPOSE_FILE="a.yaml:b.yaml")) == "b"
    assert image(folder.config(COMPOSE_FILE="b.yaml|a.yaml", COMPOSE_PATH_SEPARATOR="|")) == "a"
    assert image(folder.config("-f", "a.yaml", COMPOSE_FILE="b.yaml")) == "a"


def test_dotenv_may_name_the_files_and_the_project(folder):
    folder.file(".env", "COMPOSE_FILE=deploy/main.yaml\nCOMPOSE_PROJECT_NAME=fromenv\n")
    folder.file("deploy/main.yaml", service("deployed:${TAG:-none}")).file("deploy/.env", "TAG=9\n")
    found = folder.config()
    assert image(found) == "deployed:9"
    assert found["name"] == "fromenv"


def test_the_project_directory_moves_paths_name_and_dotenv(folder):
    folder.file("f/compose.yaml", service("a:${TAG:-none}", volumes='["./x:/x"]')).file("f/.env", "TAG=f\n")
    folder.file("base/.env", "TAG=base\n")
    found = folder.config("-f", "f/compose.yaml", "--project-directory", "base")
    assert image(found) == "a:base"
    assert found["services"]["web"]["volumes"][0]["source"] == str(folder.path / "base/x")
    assert found["name"] == "base"
    folder.file("base/compose.yaml", service("inside"))
    assert image(folder.config("--project-directory", "base")) == "inside"


# --- variables


def test_the_environment_counts_before_dotenv(folder):
    folder.file("compose.yaml", service("a:${TAG}")).file(".env", "TAG=file\n")
    assert image(folder.config()) == "a:file"
    assert image(folder.config(TAG="shell")) == "a:shell"
    assert image(folder.config(TAG="")) == "a:"


def test_the_dotenv_that_counts_is_that_of_the_project(folder):
    folder.file("compose.yaml", service("a:${TAG}")).file(".env", "TAG=project\n").file("sub/.env", "TAG=here\n")
    assert image(folder.config("-f", "../compose.yaml", cwd="sub")) == "a:project"
    # found in a parent folder: this folder's .env is read first, as the reference does
    assert image(folder.config(cwd="sub")) == "a:here"


def test_of_several_env_files_the_last_counts_and_may_use_the_first(folder):
    folder.file("compose.yaml", service("a:${TAG}")).file(".env", "TAG=default\n")
    folder.file("one.env", "TAG=one\nBASE=b\n").file("two.env", "TAG=${BASE}two\n")
    assert image(folder.config("--env-file", "one.env", "--env-file", "two.env")) == "a:btwo"
    assert image(folder.config("--env-file", "two.env", "--env-file", "one.env")) == "a:one"
    assert image(folder.config(*(f"--env-file={name}.env" for name in ("one", "two", "one")))) == "a:one"
    assert image(folder.config(COMPOSE_ENV_FILES="one.env,two.env")) == "a:btwo"
    assert image(folder.config("--env-file", "one.env", COMPOSE_ENV_FILES="two.env")) == "a:one"


def test_a_missing_env_file_is_reported(folder):
    folder.file("compose.yaml", service("a"))
    assert "can't find env file no.env" in folder.refusal("--env-file", "no.env")
    told = folder.refusal(COMPOSE_ENV_FILES="no.env")
    assert "COMPOSE_ENV_FILES names it" in told


def test_the_null_device_is_an_empty_env_file(folder):
    folder.file("compose.yaml", service("a:${TAG:-none}", env_file="/dev/null")).file(".env", "TAG=file\n")
    assert image(folder.config("--env-file", "/dev/null")) == "a:none"
    assert "empty compose file" in folder.refusal("-f", "/dev/null")


def test_dotenv_can_be_disabled(folder):
    folder.file("compose.yaml", service("a:${TAG:-none}")).file(".env", "TAG=file\n")
    assert image(folder.config(COMPOSE_DISABLE_ENV_FILE="1")) == "a:none"
    assert image(folder.config(COMPOSE_DISABLE_ENV_FILE="false")) == "a:file"
    assert "write true or false" in folder.refusal(COMPOSE_DISABLE_ENV_FILE="maybe")


def test_a_bad_line_of_dotenv_is_reported_with_its_place(folder):
    folder.file("compose.yaml", service("a")).file(".env", "A=1\nB C=2\n")
    assert ".env:2:1: " in folder.refusal()


# --- name


def test_the_name_comes_from_the_flag_then_the_environment_then_the_files_then_the_folder(folder):
    folder.file("compose.yaml", service("a"))
    assert folder.config()["name"] == "project"
    folder.file("compose.yaml", "name: ${WHO:-Written}\n" + service("a"))
    assert folder.config()["name"] == "written"
    assert folder.config(WHO="me")["name"] == "me"
    assert folder.config(COMPOSE_PROJECT_NAME="env")["name"] == "env"
    assert folder.config("-p", "flag", COMPOSE_PROJECT_NAME="env")["name"] == "flag"


def test_the_last_file_that_gives_a_name_counts(folder):
    folder.file("a.yaml", "name: first\n" + service("a")).file("b.yaml", "name: second\n").file("c.yaml", service("c"))
    assert folder.config("-f", "a.yaml", "-f", "b.yaml", "-f", "c.yaml")["name"] == "second"


def test_a_folder_makes_a_name_of_allowed_characters(tmp_path):
    strange = tmp_path / "_My Project.v2"
    strange.mkdir()
    assert Folder(strange).file("compose.yaml", service("a")).config()["name"] == "myprojectv2"


def test_names_that_can_not_be_are_refused(folder, tmp_path):
    folder.file("compose.yaml", service("a"))
    assert "invalid project name 'Bad Name'" in folder.refusal("-p", "Bad Name")
    assert "'badname' would be one" in folder.refusal("-p", "Bad Name")
    assert "invalid project name" in folder.refusal(COMPOSE_PROJECT_NAME="UPPER")
    strange = tmp_path / "-_"
    strange.mkdir()
    assert "the project has no name" in Folder(strange).file("compose.yaml", service("a")).refusal()


def test_an_empty_name_counts_for_nothing_and_one_of_which_nothing_is_left_is_refused(folder):
    folder.file("compose.yaml", "name: ''\n" + service("a"))
    assert folder.config()["name"] == "project"
    for written in ("${NOBODY}", "___"):
        folder.file("compose.yaml", f"name: {written}\n" + service("a"))
        assert "the project has no name" in folder.refusal()


def test_the_files_may_use_the_projects_name(folder):
    folder.file("compose.yaml", "name: mine\n" + service("${COMPOSE_PROJECT_NAME}-image"))
    done = folder.run("config", "--images")
    assert (done.stdout, done.stderr) == ("mine-image\n", "")


# --- profiles


def test_profiles_come_from_flags_or_the_environment(folder):
    folder.file(
        "compose.yaml", service("a") + "  one: {image: b, profiles: [one]}\n  two: {image: b, profiles: [two]}\n"
    )
    assert set(folder.config()["services"]) == {"web"}
    assert set(folder.config("--profile", "one", "--profile", "two")["services"]) == {"web", "one", "two"}
    assert set(folder.config("--profile", "*")["services"]) == {"web", "one", "two"}
    assert set(folder.config(COMPOSE_PROFILES="one, two")["services"]) == {"web", "one", "two"}
    assert set(folder.config("--profile", "one", COMPOSE_PROFILES="two")["services"]) == {"web", "one"}
    folder.file(".env", "COMPOSE_PROFILES=two\n")
    assert set(folder.config()["services"]) == {"web", "two"}


# --- include


def test_an_included_file_has_its_own_folder_and_dotenv(folder):
    folder.file("compose.yaml", "include: [sub/compose.yaml]\n" + service("own:${TAG}")).file(".env", "OTHER=1\n")
    folder.file("sub/compose.yaml", "services: {inner: {image: 'a:${TAG}-${OTHER}', volumes: ['./d:/d']}}")
    folder.file("sub/.env", "TAG=sub\n")
    done = folder.config()
    assert done["services"]["inner"]["image"] == "a:sub-1"
    assert done["services"]["inner"]["volumes"][0]["source"] == str(folder.path / "sub/d")
    assert image(done) == "own:"
    assert folder.config(TAG="shell")["services"]["inner"]["image"] == "a:shell-1"


def test_an_include_may_name_its_folder_env_files_and_several_files(folder):
    folder.file(
        "compose.yaml",
        "include:\n  - path: [sub/a.yaml, over/b.yaml]\n    project_directory: elsewhere\n"
        "    env_file: [one.env, two.env]\n" + service("own"),
    )
    folder.file("sub/a.yaml", "services: {inner: {image: 'a:${TAG}', volumes: ['./d:/d']}}")
    folder.file("over/b.yaml", "services: {inner: {working_dir: /w, volumes: ['./e:/e']}}")
    folder.file("one.env", "TAG=one\n").file("two.env", "TAG=two\n").file("elsewhere/.env", "TAG=no\n")
    inner = folder.config()["services"]["inner"]
    assert inner["image"] == "a:two"
    assert inner["working_dir"] == "/w"
    assert [volume["source"] for volume in inner["volumes"]] == [
        str(folder.path / "elsewhere/d"),
        str(folder.path / "elsewhere/e"),
    ]


def test_an_override_file_changes_what_the_first_includes(folder):
    folder.file("compose.yaml", "include: [sub/compose.yaml]\n").file("sub/compose.yaml", service("a", user="u"))
    folder.file("compose.override.yaml", service("b"))
    found = folder.config()["services"]["web"]
    assert (found["image"], found["user"]) == ("b", "u")


def test_what_an_include_and_its_file_define_differently_is_a_conflict(folder):
    folder.file("compose.yaml", "include: [a.yaml]\n" + service("own")).file("a.yaml", service("other"))
    told = folder.refusal()
    assert "compose.yaml:1:11: include[0]: services.web of the included file conflicts" in told
    assert "compose.yaml:3:3" in told
    folder.file("compose.yaml", "include: [a.yaml, b.yaml]\n").file("b.yaml", service("other"))
    assert image(folder.config()) == "other"
    folder.file("b.yaml", service("different"))
    assert "include[1]: services.web" in folder.refusal()


def test_includes_are_followed_and_cycles_shown(folder):
    folder.file("compose.yaml", "include:\n  - b.yaml\n").file("b.yaml", "include: [{path: c.yaml}]\n")
    folder.file("c.yaml", service("deep"))
    assert image(folder.config()) == "deep"
    folder.file("c.yaml", "include:\n  - path: compose.yaml\n")
    told = folder.refusal()
    assert "c.yaml:2:11: include[0]: the file includes itself" in told
    assert "compose.yaml:2:5: compose.yaml includes b.yaml" in told
    assert "b.yaml:1:18: b.yaml includes c.yaml" in told
    assert "c.yaml:2:11: c.yaml includes compose.yaml" in told


# --- extends


def test_extends_follows_chains_of_files_with_paths_of_each(folder):
    folder.file("compose.yaml", "services: {web: {extends: {file: one/a.yaml, service: mid}, volumes: ['./top:/top']}}")
    folder.file(
        "one/a.yaml",
        "services: {mid: {extends: {file: ../two/b.yaml, service: base}, env_file: [e.env], volumes: ['./mid:/mid']}}",
    )
    folder.file("one/e.env", "E=1\n")
    folder.file(
        "two/b.yaml", "services: {base: {extends: root, build: ./ctx, volumes: ['./low:/low']}, root: {user: r}}"
    )
    found = folder.config()["services"]["web"]
    assert found["user"] == "r"
    assert found["environment"] == {"E": "1"}
    assert found["build"]["context"] == str(folder.path / "two/ctx")
    assert {volume["target"]: volume["source"] for volume in found["volumes"]} == {
        "/low": str(folder.path / "two/low"),
        "/mid": str(folder.path / "one/mid"),
        "/top": str(folder.path / "top"),
    }


def test_what_extends_another_file_keeps_limits_and_lists(folder):
    folder.file("compose.yaml", "services: {web: {extends: {file: b.yaml, service: base}, ports: ['81:81']}}")
    folder.file("b.yaml", "services: {base: {image: a, ulimits: {nofile: 5}, ports: ['80:80'], dns: 1.1.1.1}}")
    found = folder.config()["services"]["web"]
    assert found["ulimits"] == {"nofile": 5}
    assert [port["published"] for port in found["ports"]] == ["80", "81"]
    assert found["dns"] == ["1.1.1.1"]


def test_reset_and_override_take_back_what_files_and_extended_services_gave(folder):
    folder.file("a.yaml", service("a", ports="['80:80']", command="[one]", environment="{A: '1', B: '2'}"))
    folder.file(
        "b.yaml", service("a", ports="!override ['90:90']", command="!reset null", environment="{A: !reset null}")
    )
    found = folder.config("-f", "a.yaml", "-f", "b.yaml")["services"]["web"]
    assert [port["published"] for port in found["ports"]] == ["90"]
    assert found["command"] is None
    assert found["environment"] == {"B": "2"}
    folder.file(
        "c.yaml",
        "services:\n  base: {image: x, command: [one], ports: ['1:1']}\n"
        "  web: {extends: base, command: !reset null, ports: !override ['2:2']}\n",
    )
    services = folder.config("-f", "c.yaml")["services"]
    assert services["web"]["command"] is None
    assert [port["published"] for port in services["web"]["ports"]] == ["2"]
    assert services["base"]["command"] == ["one"]


def test_labels_of_files_stand_below_the_services_own(folder):
    folder.file("compose.yaml", service("a", label_file="[one.label, two.label]", labels="{own: mine, both: mine}"))
    folder.file("one.label", "first=1\nboth=one\n").file("two.label", "second=${first}2\n")
    assert folder.config()["services"]["web"]["labels"] == {
        "first": "1",
        "second": "12",
        "own": "mine",
        "both": "mine",
    }
