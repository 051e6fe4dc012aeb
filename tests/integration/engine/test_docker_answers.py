"""Statuses and messages as dockerd 28.5.2 answers them: clients branch on both, and print the message alone."""

import pytest

pytestmark = pytest.mark.root

IN_THE_WAY = [
    ("POST", "/containers/running/unpause", None, 500, "Container {running} is not paused"),
    ("POST", "/containers/idle/pause", None, 409, "container {idle} is not running"),
    ("POST", "/containers/idle/unpause", None, 500, "Container {idle} is not paused"),
    ("POST", "/containers/running/kill?signal=FOO", None, 400, "cannot kill container: running: invalid signal: FOO"),
    (
        "POST", "/containers/running/kill?signal=99", None, 400,
        "cannot kill container: running: the linux daemon does not support signal 99",
    ),
    ("POST", "/containers/running/stop?signal=FOO", None, 500, "cannot stop container: running: invalid signal: FOO"),
    ("POST", "/containers/running/restart?signal=FOO", None, 500, "Cannot restart container running: invalid signal: FOO"),
    (
        "DELETE", "/containers/running", None, 409,
        'cannot remove container "running": container is running: stop the container before removing or force remove',
    ),
    ("POST", "/containers/running/resize?h=1&w=1", None, 200, None),
    ("GET", "/containers/running/archive", None, 400, "bad parameter: pathcannot be empty"),
    ("POST", "/containers/running/exec", {"Cmd": ["x"], "User": "no"}, 400,
     "unable to find user no: no matching entries in passwd file"),
    ("POST", "/commit", None, 400, 'invalid name or ID supplied: ""'),
    ("GET", "/images/none/json", None, 404, "No such image: none:latest"),
    ("GET", "/images/none/get", None, 404, "No such image: none"),
    ("POST", "/images/busybox/tag?repo=A&tag=b", None, 400,
     "invalid reference format: repository name (library/A) must be lowercase"),
    ("GET", "/containers/json?filters={", None, 400, "invalid filter"),
    (
        "GET", '/containers/json?filters={"status":["x"]}', None, 400,
        "invalid filter 'status=x': invalid value for state (x): must be one of created, running, paused, restarting, "
        "removing, exited, dead",
    ),
    ("GET", "/containers/json?limit=x", None, 400, 'strconv.Atoi: parsing "x": invalid syntax'),
    ("GET", "/events?until=x", None, 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
    ("GET", "/events?since=5&until=1", None, 400, "`since` time (5) cannot be after `until` time (1)"),
    ("GET", '/events?until=1&filters={"foo":["x"]}', None, 200, None),
    ("POST", '/build/prune?filters={"foo":["x"]}', None, 400, "failed to prune build cache: invalid filter 'foo'"),
    ("POST", "/networks/create", {"Name": ""}, 400, "invalid name: name is empty"),
    ("POST", "/networks/create", {"Name": "bridge"}, 403, "operation is not permitted on predefined bridge network "),
    ("POST", "/networks/create", {"Name": "n", "Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
    ("POST", "/networks/create", {"Name": "n", "Scope": "swarm"}, 403,
     "cannot create a swarm scoped network when swarm is not active"),
    ("POST", "/networks/host/connect", {"Container": "running"}, 400,
     "cannot connect container to host network - container must be created in host network mode"),
    ("POST", "/networks/none/disconnect", {"Container": "running"}, 500,
     "container {running} is not connected to network none"),
    ("POST", "/networks/none/disconnect", {"Container": "idle"}, 500,
     "container {idle} is not connected to the network none"),
    ("POST", "/networks/none/disconnect", {"Container": "x", "Force": True}, 404, "endpoint x not found"),
    ("GET", '/networks?filters={"type":["x"]}', None, 500, "invalid filter: 'type'='x'"),
    ("GET", '/networks?filters={"dangling":["x"]}', None, 400,
     'invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")'),
    ("POST", "/volumes/create", {"Name": "x"}, 400,
     "create x: volume name is too short, names should be at least two alphanumeric characters"),
    ("POST", "/volumes/create", {"Name": "vv", "DriverOpts": {"foo": "x"}}, 400, 'create vv: invalid option: "foo"'),
    ("POST", "/volumes/create", {"Name": "vv", "DriverOpts": {"type": "nfs"}}, 400,
     'create vv: missing required option: "device"'),
    ("POST", "/volumes/create", {"Name": "vv", "DriverOpts": {"device": "/x"}}, 400,
     'create vv: missing required option: "type"'),
    ("GET", '/volumes?filters={"dangling":["x"]}', None, 400, "invalid filter 'dangling=[x]'"),
    ("GET", "/no-such-page", None, 404, "page not found"),
]  # fmt: skip


@pytest.fixture(scope="module")
def ids(api):
    running, idle = api.make("sleep", "60", name="running"), api.make("true", name="idle")
    assert api.ask("POST", f"/containers/{running}/start").status == 204
    yield {"running": running, "idle": idle}
    for id in (running, idle):
        api.ask("DELETE", f"/containers/{id}?force=1")


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), IN_THE_WAY, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_answered_as_by_docker(api, ids, method, path, body, status, message):
    answer = api.ask(method, path, body)
    assert (answer.status, answer.json["message"] if message else None) == (status, message and message.format(**ids))


def test_a_paused_container_is_in_the_way_as_with_docker(api):
    id = api.make("sleep", "60", name="paused")
    api.ask("POST", f"/containers/{id}/start")
    api.ask("POST", f"/containers/{id}/pause")
    for method, path, status, message in (
        ("POST", "pause", 409, f"Container {id} is already paused"),
        ("POST", "start", 409, "cannot start a paused container, try unpause instead"),
        ("DELETE", "", 409, 'cannot remove container "paused": container is paused and must be unpaused first'),
    ):
        answer = api.ask(method, f"/containers/paused/{path}".rstrip("/"))
        assert (answer.status, answer.message) == (status, message)
    assert api.ask("DELETE", f"/containers/{id}?force=1").status == 204


def test_advice_is_apart_from_the_message_that_clients_compare(api):
    answer = api.ask("POST", "/containers/create", {"Image": "no-such-image"})
    assert answer.json == {
        "message": "No such image: no-such-image:latest",
        "hint": "pull it, build it, or `skiff image bootstrap` a Debian base",
    }


def test_a_push_of_what_is_not_there_fails_in_the_stream(api):
    answer = api.ask("POST", "/images/none/push")
    assert answer.status == 200
    assert b'"message":"An image does not exist locally with the tag: none"' in answer.body
