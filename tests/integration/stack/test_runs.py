"""`run` and `exec` with input in the background, without a terminal, and in containers of `run`."""

import pytest

pytestmark = pytest.mark.root

PROJECT = """
services:
  a: {image: busybox, init: true, command: sleep infinity, stop_grace_period: 0s}
networks: {unused: }
volumes: {unused: }
"""


def test_input_stays_open_in_the_background_and_exec_reaches_what_run_made(stack):
    project = stack(PROJECT)
    id = project.skiff("run", "-d", "a", "cat").stdout.strip()
    about = project.home.get(f"/containers/{id}/json")
    assert (about["State"]["Running"], about["Config"]["OpenStdin"]) == (True, True)
    assert project.skiff("exec", "-T", "a", "echo", "reached").stdout == "reached\n"
    assert "the input device is not a TTY" in project.refused("run", "--rm", "--tty", "a", "true", input="x")
    found = project.skiff("run", "--rm", "--volumes", "/etc/hostname:/given", "--labels", "a=b", "a", "ls", "/given")
    assert found.stdout == "/given\n"


def test_what_no_service_uses_is_made_where_all_resources_are_asked_for(stack):
    project = stack(PROJECT.replace("  a: {image", "  a: {profiles: [off], image"))
    project.skiff("--all-resources", "up", "-d")
    assert project.home.get(f"/volumes/{project.name}_unused")["Name"] == f"{project.name}_unused"
    assert project.home.get(f"/networks/{project.name}_unused")["Name"] == f"{project.name}_unused"
    assert "no service selected" in project.refused("up", "-d")
