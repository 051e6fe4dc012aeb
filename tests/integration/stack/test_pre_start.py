"""`pre_start` hooks in containers of their own, on the real engine."""

import pytest

pytestmark = pytest.mark.root

HOOKED = """
services:
  app:
    image: busybox
    init: true
    command: sleep infinity
    stop_grace_period: 0s
    user: "1000"
    environment: {A: service, B: service}
    volumes: ["data:/data"]
    pre_start:
      - command: ["sh", "-c", "echo one $$A $$B $$(id -u) >>/data/log; chmod 777 /data /data/log; echo said"]
        user: root
        environment: {B: hook}
      - command: ["sh", "-c", "echo two $$(id -u) >>/data/log"]
        image: busybox:latest
volumes: {data: }
"""
LINES = ["one service hook 0", "two 1000"]


def log(project):
    return project.skiff("exec", "app", "cat", "/data/log").stdout.splitlines()


def hooks_of(project):
    rows = project.home.get("/containers/json?all=1")
    return [row for row in rows if row["Labels"].get("com.docker.compose.hook") == "pre_start"
            and row["Labels"]["com.docker.compose.project"] == project.name]  # fmt: skip


def test_hooks_prepare_the_volumes_of_a_service_in_their_order_and_once(stack):
    project = stack(HOOKED)
    said = project.skiff("up", "-d").stderr
    assert " app pre_start | said" in said
    assert log(project) == LINES
    assert hooks_of(project) == []
    project.skiff("up", "-d", "--scale", "app=2")
    assert log(project) == LINES
    project.skiff("stop")
    project.skiff("start")
    assert log(project) == LINES * 2


def test_a_hook_that_fails_keeps_the_service_from_starting_and_is_left_for_a_look(stack):
    project = stack(HOOKED.replace("echo two", "echo what is wrong; exit 3; echo"))
    for _ in range(2):
        said = project.refused("up", "-d")
        assert 'service "app" pre_start[1] exited with code 3: what is wrong (hook container ' in said
        assert [row["State"] for row in hooks_of(project)] == ["exited"]
    assert project.states() == {f"{project.name}-app-1": "created"}
    project.skiff("down", "-t", "0")
    assert hooks_of(project) == []
