"""Which containers commands without names act on, and what they do about dependencies and states."""

import pytest

from runtime.client import Client, endpoint

pytestmark = pytest.mark.root

SLEEP = "image: busybox, init: true, command: sleep infinity, stop_grace_period: 0s"
BOTH = f"services:\n  kept: {{{SLEEP}}}\n  gone: {{{SLEEP}}}\n"


def states(project):
    return {name.removeprefix(f"{project.name}-"): state for name, state in project.states().items()}


def test_commands_without_names_leave_orphans_and_what_only_has_the_label_alone(stack):
    project = stack(BOTH)
    project.skiff("up", "-d")
    client = Client(endpoint({}, f"unix://{project.home.run}/engine.sock"))
    labels = {"com.docker.compose.project": project.name, "com.docker.compose.service": "kept"}
    foreign = client.create_container({"Image": "busybox", "Cmd": ["sleep", "60"], "Labels": labels}, name="foreign")[
        "Id"
    ]
    try:
        project.write(f"services:\n  kept: {{{SLEEP}}}\n")
        for command, left, changed in (
            (["pause"], "running", "paused"),
            (["unpause"], "running", "running"),
            (["stop"], "running", "exited"),
            (["start"], "running", "running"),
            (["restart"], "running", "running"),
            (["up", "-d", "--scale", "kept=1"], "running", "running"),
            (["rm", "-sf"], "running", None),
        ):
            project.skiff(*command)
            expected = {"gone-1": left, **({"kept-1": changed} if changed else {})}
            assert states(project) == expected, command
        project.skiff("-p", project.name, "down")
        assert client.container(foreign)["State"]["Status"] == "created"
    finally:
        client.remove(foreign, force=True)


def test_start_begins_with_dependencies_and_waits_for_their_health(stack):
    project = stack(
        f"""
services:
  db: {{{SLEEP}, healthcheck: {{test: "test -e /tmp/ok || {{ touch /tmp/ok; exit 1; }}", interval: 200ms}}}}
  web: {{{SLEEP}, depends_on: {{db: {{condition: service_healthy, restart: true}}}}}}
"""
    )
    project.skiff("up", "-d")
    project.skiff("stop")
    project.skiff("exec", "db", "true", check=False)
    project.skiff("start", "web")
    assert states(project) == {"db-1": "running", "web-1": "running"}
    assert project.inspect("db")["State"]["Health"]["Status"] == "healthy"
    project.skiff("restart", "db")
    assert project.inspect("db")["State"]["Health"]["Status"] == "healthy"


def test_what_is_paused_or_not_is_reported_and_what_is_stopped_is_stopped(stack):
    project = stack(f"services:\n  a: {{{SLEEP}}}\n")
    project.skiff("up", "-d")
    assert "is not paused" in project.refused("unpause")
    project.skiff("pause")
    assert "is already paused" in project.refused("pause")
    project.skiff("unpause")
    project.skiff("stop")
    assert f"Container {project.name}-a-1 Stopped" in project.skiff("stop").stderr


def test_a_volume_that_is_recreated_goes_with_the_container_that_has_the_port(stack):
    service = f"{SLEEP}, volumes: ['data:/data'], ports: ['127.0.0.1:28417:80']"
    text = f"services:\n  db: {{{service}}}\nvolumes:\n  data: {{labels: {{a: '1'}}}}\n"
    project = stack(text)
    project.skiff("up", "-d")
    project.write(text.replace("'1'", "'2'"))
    project.skiff("up", "-d", "-y")
    assert states(project) == {"db-1": "running"}
