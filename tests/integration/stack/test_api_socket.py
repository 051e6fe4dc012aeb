"""`use_api_socket`: a service speaks to the engine that runs it."""

import base64
import json

import pytest

from tests.support.api import Api

pytestmark = pytest.mark.root

ASKING = """
services:
  web:
    image: busybox
    use_api_socket: true
    init: true
    command: sleep infinity
  other: {image: busybox, command: "true"}
"""


@pytest.fixture
def logged_in(tmp_path):
    """The environment of a user with credentials for registries, one of them kept by a helper."""
    auths = {"plain.test": {"auth": base64.b64encode(b"me:secret").decode()}, "helped.test": {}}
    folder = tmp_path / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": auths, "credsStore": "test"}))
    helper = folder / "docker-credential-test"
    helper.write_text(
        """#!/bin/sh
case $1 in
list) echo '{"helped.test": "you"}' ;;
get) read server; echo '{"Username": "you", "Secret": "hidden", "ServerURL": "'$server'"}' ;;
esac
"""
    )
    helper.chmod(0o755)
    return {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:/usr/bin:/bin"}


def test_a_service_reaches_the_engine_and_the_registries_of_its_user(stack, logged_in):
    project = stack(ASKING)
    project.skiff("up", "-d", env=logged_in)
    state = project.inspect("web")["State"]
    assert Api(f"/proc/{state['Pid']}/root/var/run/docker.sock").ask("GET", "/_ping").body == b"OK"
    config = project.skiff("exec", "web", "sh", "-c", "cat $DOCKER_CONFIG/config.json").stdout
    assert {name: base64.b64decode(one["auth"]) for name, one in json.loads(config)["auths"].items()} == {
        "plain.test": b"me:secret",
        "helped.test": b"you:hidden",
    }
    assert not project.inspect("other")["Mounts"]
    again = project.skiff("up", "-d", "web", env=logged_in).stderr
    assert "Container" in again
    assert "Recreate" not in again


def test_it_is_for_unix_sockets_alone(stack):
    project = stack(ASKING)
    said = project.refused("-H", "tcp://127.0.0.1:1", "up", "-d")
    assert "use_api_socket can only be used with unix sockets: docker endpoint tcp://127.0.0.1:1 " in said
