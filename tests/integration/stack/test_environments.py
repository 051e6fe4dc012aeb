"""Variables of services, of commands in them, and the files that give them."""

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.root

BUILT = """
services:
  app:
    build: {dockerfile_inline: "FROM busybox\\nENV FROM_IMAGE=image OTHER=image"}
    init: true
    command: sleep infinity
    environment: {FROM_IMAGE: , KEPT: service}
  lost: {image: busybox, env_file: [gone.env], command: sleep infinity, init: true, profiles: [more]}
"""


def variables(project: Project, *command):
    return set(project.skiff(*command).stdout.splitlines())


def test_variables_are_taken_away_and_given_as_they_are_named(stack):
    project = stack(BUILT, **{".env": "DOTTED=dotenv\n"})
    project.skiff("up", "-d", "app")
    found = variables(project, "exec", "app", "env")
    assert {"OTHER=image", "KEPT=service"} <= found
    assert not [each for each in found if each.startswith("FROM_IMAGE")]
    found = variables(project, "exec", "-e", "DOTTED", "-e", "KEPT", "-e", "NEW=1", "app", "env")
    assert {"DOTTED=dotenv", "NEW=1"} <= found
    assert not [each for each in found if each.startswith("KEPT")]
    found = variables(project, "run", "--rm", "-T", "-e", "DOTTED", "-e", "KEPT", "app", "env")
    assert {"DOTTED=dotenv", "KEPT=service"} <= found


def test_a_missing_file_of_variables_stops_only_what_wants_it(stack):
    project = stack(BUILT.replace(", profiles: [more]", ""))
    project.skiff("up", "-d", "app")
    assert "env file gone.env not found" in project.refused("up", "-d")
    for command in (
        ["ps"],
        ["logs"],
        ["stop", "-t", "0"],
        ["start", "app"],
        ["exec", "app", "true"],
        ["down", "-t", "0"],
        # nor are files read by what makes no containers
        ["build", "app"],
        ["push", "--ignore-push-failures"],
        ["pull", "--policy", "missing"],
        ["graph"],
        ["alpha", "viz"],
        *(
            ["config", f"--{what}"]
            for what in ("services", "images", "volumes", "profiles", "environment", "variables")
        ),
    ):
        project.skiff(*command)
    assert "env file gone.env not found" in project.refused("config")


def test_a_name_that_a_missing_variable_leaves_empty_is_not_that_of_another_volume(stack):
    volume = "volumes: {data: {name: '${WHICH}'}}"
    project = stack("services: {app: {image: busybox, command: 'true', volumes: ['data:/data']}}\n" + volume)
    project.skiff("up", "-d", env={"WHICH": f"{project.name}_data"})
    for command in (["up", "-d"], ["create", "--force-recreate"], ["run", "app"], ["down", "-v"]):
        assert "volumes.data: its name is empty" in project.refused(*command)
    assert project.skiff("ps", "-a", "-q").stdout
    project.skiff("down")
    project.skiff("down", "-v", env={"WHICH": f"{project.name}_data"})


def test_the_default_platform_counts_for_images_that_are_only_named(stack):
    project = stack("services: {app: {image: busybox, command: 'true', pull_policy: never}}")
    other = {"DOCKER_DEFAULT_PLATFORM": "linux/riscv64"}
    for command in (["up", "-d"], ["create"], ["run", "--rm", "app"]):
        said = project.refused(*command, env=other)
        assert "busybox is here for linux/" in said
        assert "not for linux/riscv64" in said
    unchanged = project.skiff("config", "--hash", "app").stdout
    assert project.skiff("config", "--hash", "app", env=other).stdout == unchanged
    project.skiff("up", "-d")
    project.skiff("stop", env=other)
