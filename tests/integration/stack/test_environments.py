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
    ):
        project.skiff(*command)
