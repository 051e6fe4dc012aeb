"""Health checks and restart policies of real containers."""

import json
import os
import signal

import pytest

from runtime.engine.times import parse_rfc3339

pytestmark = pytest.mark.root
MS = 1_000_000


@pytest.fixture
def heard(api):
    """Start to receive a container's events; returns a function that gives the next one that passes."""
    connections = []

    def listen(id, *actions):
        connection, stream = api.events(container=[id], event=list(actions))
        connections.append(connection)
        return lambda: json.loads(stream.readline())

    yield listen
    for connection in connections:
        connection.close()


def check(test, **settings):
    return {"Test": ["CMD-SHELL", test], "Interval": 20 * MS, "Timeout": 2000 * MS, "Retries": 1, **settings}


def health_of(api, id):
    return api.state(id)["Health"]


def test_the_verdict_follows_the_probes_and_is_reported(api, containers, heard):
    id = containers(
        "sh", "-c", "touch /ok; sleep 60", start=False, Healthcheck=check("test -e /ok && echo fine", Retries=2)
    )
    next_event = heard(id, "health_status")
    assert api.ask("POST", f"/containers/{id}/start").status == 204
    assert next_event()["Action"] == "health_status: healthy"
    exec_id = api.ask("POST", f"/containers/{id}/exec", {"Cmd": ["rm", "/ok"]}).json["Id"]
    assert api.ask("POST", f"/exec/{exec_id}/start", {"Detach": True}).status == 200
    assert next_event()["Action"] == "health_status: unhealthy"
    health = health_of(api, id)
    assert health["Status"] == "unhealthy"
    assert health["FailingStreak"] >= 2
    assert len(health["Log"]) <= 5
    assert (health["Log"][-1]["ExitCode"], health["Log"][-1]["Output"]) == (1, "")


def test_a_container_starts_as_starting_and_failures_in_the_start_period_do_not_count(api, containers, heard):
    wait = check("test -e /ok", StartPeriod=60_000 * MS, StartInterval=20 * MS)
    id = containers("sh", "-c", "sleep 0.3; touch /ok; sleep 60", start=False, Healthcheck=wait)
    next_event = heard(id, "health_status")
    assert api.ask("POST", f"/containers/{id}/start").status == 204
    assert health_of(api, id)["Status"] == "starting"
    assert next_event()["Action"] == "health_status: healthy"
    assert health_of(api, id)["FailingStreak"] == 0
    assert len(health_of(api, id)["Log"]) > 1


def test_the_first_probe_that_counts_comes_an_interval_after_the_start(api, containers, heard):
    id = containers("sleep", "60", start=False, Healthcheck=check("false", Interval=100 * MS, Retries=3))
    next_event = heard(id, "health_status")
    assert api.ask("POST", f"/containers/{id}/start").status == 204
    assert next_event()["Action"] == "health_status: unhealthy"
    started_ns = parse_rfc3339(api.state(id)["StartedAt"])
    begun_ns = [parse_rfc3339(probe["Start"]) - started_ns for probe in health_of(api, id)["Log"][:3]]
    assert all(begun >= at * 100 * MS for at, begun in enumerate(begun_ns, 1)), begun_ns
    assert health_of(api, id)["FailingStreak"] >= 3


def test_who_is_ready_at_once_is_healthy_at_once(api, containers, heard):
    id = containers("sleep", "60", start=False, Healthcheck=check("true", Interval=3_600_000 * MS))
    next_event = heard(id, "health_status")
    assert api.ask("POST", f"/containers/{id}/start").status == 204
    assert next_event()["Action"] == "health_status: healthy"


def test_a_probe_is_killed_at_its_timeout(api, containers, heard):
    id = containers("sleep", "60", start=False, Healthcheck=check("echo begun; exec sleep 4321", Timeout=100 * MS))
    next_event = heard(id, "health_status")
    assert api.ask("POST", f"/containers/{id}/start").status == 204
    assert next_event()["Action"] == "health_status: unhealthy"
    first = health_of(api, id)["Log"][0]
    assert first["ExitCode"] == -1
    assert first["Output"] == "Health check exceeded timeout (100ms): begun\n"
    assert parse_rfc3339(first["End"]) - parse_rfc3339(first["Start"]) < 2000 * MS
    running = api.ask("GET", f"/containers/{id}/top").json["Processes"]
    assert sum("4321" in row[-1] for row in running) <= 1


def test_of_a_probes_output_the_first_4096_bytes_are_kept(api, containers, heard):
    id = containers("sleep", "60", start=False, Healthcheck=check("echo begin; yes x | head -c 9000"))
    next_event = heard(id, "health_status")
    assert api.ask("POST", f"/containers/{id}/start").status == 204
    next_event()
    output = health_of(api, id)["Log"][0]["Output"]
    assert output.startswith("begin\nx\n")
    assert len(output) == 4096 + len("...")


def test_none_switches_a_check_off(api, containers):
    id = containers("sleep", "60", Healthcheck={"Test": ["NONE"]})
    assert "Health" not in api.state(id)


def test_who_ended_is_not_healthy(api, containers, heard):
    id = containers("sleep", "60", start=False, Healthcheck=check("true"))
    next_event = heard(id, "health_status")
    api.ask("POST", f"/containers/{id}/start")
    next_event()
    api.ask("POST", f"/containers/{id}/kill")
    assert health_of(api, id)["Status"] == "unhealthy"


def test_on_failure_tries_as_often_as_it_may_with_growing_pauses(api, containers, heard):
    policy = {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}}
    id = containers("sh", "-c", "exit 3", start=False, HostConfig=policy)
    next_event = heard(id, "start", "die")
    api.ask("POST", f"/containers/{id}/start")
    told = [next_event() for _ in range(6)]
    assert [event["Action"] for event in told] == ["start", "die"] * 3
    pauses = [told[at + 1]["timeNano"] - told[at]["timeNano"] for at in (1, 3)]
    assert pauses[0] >= 100 * MS
    assert pauses[1] >= 200 * MS
    document = api.ask("GET", f"/containers/{id}/json").json
    assert (document["RestartCount"], document["State"]["Status"], document["State"]["ExitCode"]) == (2, "exited", 3)


def test_success_ends_on_failure(api, containers):
    id = containers("sh", "-c", "exit 0", HostConfig={"RestartPolicy": {"Name": "on-failure"}})
    assert api.wait(id) == 0
    assert api.state(id)["Status"] == "exited"


def test_always_comes_again_whatever_the_exit_code_until_it_is_stopped_by_hand(api, containers, heard):
    id = containers("sh", "-c", "exit 0", start=False, HostConfig={"RestartPolicy": {"Name": "always"}})
    next_event = heard(id, "start")
    api.ask("POST", f"/containers/{id}/start")
    for _ in range(3):
        next_event()
    assert api.ask("POST", f"/containers/{id}/stop").status in (204, 304)
    assert api.state(id)["Status"] == "exited"
    assert not api.state(id)["Restarting"]


def test_who_waits_to_be_restarted_says_so_and_may_be_removed_by_force_alone(api, containers, heard):
    id = containers("false", start=False, HostConfig={"RestartPolicy": {"Name": "always"}})
    next_event = heard(id, "die")
    api.ask("POST", f"/containers/{id}/start")
    for _ in range(4):
        next_event()
    state = api.state(id)
    assert (state["Status"], state["Running"], state["Restarting"]) == ("restarting", True, True)
    assert api.ask("DELETE", f"/containers/{id}").status == 409
    assert api.ask("DELETE", f"/containers/{id}?force=1").status == 204


def test_a_wait_ends_at_each_end_of_a_container_that_is_restarted(api, containers):
    id = containers("sh", "-c", "sleep 0.1; exit 4", HostConfig={"RestartPolicy": {"Name": "always"}})
    assert [api.wait(id), api.wait(id)] == [4, 4]


def test_who_runs_again_has_no_exit_code(api, containers):
    id = containers("sh", "-c", "test -e /again || { touch /again; exit 7; }; sleep 60")
    assert api.ask("POST", f"/containers/{id}/wait").json["StatusCode"] == 7
    assert api.ask("POST", f"/containers/{id}/start").status == 204
    assert (api.state(id)["Running"], api.state(id)["ExitCode"]) == (True, 0)


def test_a_signal_lets_who_is_paused_go_on(api, containers):
    id = containers("sh", "-c", "trap 'exit 5' USR1; while :; do sleep 0.02; done")
    assert api.ask("POST", f"/containers/{id}/pause").status == 204
    assert api.ask("POST", f"/containers/{id}/kill?signal=USR1").status == 204
    assert api.ask("POST", f"/containers/{id}/wait").json["StatusCode"] == 5


def test_a_manual_start_begins_the_count_again(api, containers):
    policy = {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}}
    id = containers("false", HostConfig=policy)
    while api.state(id)["Status"] != "exited":
        api.wait(id)
    assert api.ask("GET", f"/containers/{id}/json").json["RestartCount"] == 1
    api.ask("POST", f"/containers/{id}/start")
    while api.state(id)["Status"] != "exited":
        api.wait(id)
    assert api.ask("GET", f"/containers/{id}/json").json["RestartCount"] == 1


def test_removed_at_its_end_but_not_by_a_restart(api, containers):
    id = containers("sleep", "60", HostConfig={"AutoRemove": True})
    assert api.ask("POST", f"/containers/{id}/restart?t=0").status == 204
    assert api.state(id)["Running"]
    answer = api.ask("POST", f"/containers/{id}/kill")
    assert answer.status == 204
    api.ask("POST", f"/containers/{id}/wait?condition=removed")
    assert api.ask("GET", f"/containers/{id}/json").status == 404


def test_who_cannot_be_started_again_stays_stopped_with_the_reason(api, containers, tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    host = {"RestartPolicy": {"Name": "always"}, "Binds": [f"{source}:/data"]}
    id = containers("sh", "-c", "read x", HostConfig=host, OpenStdin=True)
    source.rmdir()
    os.kill(api.state(id)["Pid"], signal.SIGKILL)
    while api.state(id)["Status"] != "exited":
        api.wait(id)
    assert "no such file" in api.state(id)["Error"]


def test_policies_that_cannot_be_are_refused(api):
    for policy in ({"Name": "often"}, {"Name": "always", "MaximumRetryCount": 2}):
        answer = api.ask("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"RestartPolicy": policy}})
        assert (answer.status, "invalid restart policy" in answer.message) == (400, True)


@pytest.mark.parametrize("checked", [{}, {"Healthcheck": check("true")}], ids=["plain", "with a health check"])
def test_a_child_that_the_kernel_kills_for_memory_is_reported_while_the_container_runs(
    api, containers, heard, shared_home, checked
):
    before = (shared_home.run / "engine.log").read_text().count("Traceback")
    memory = {"Memory": 24 << 20, "MemorySwap": 24 << 20}
    fill = "mkfifo /go; read _ < /go; head -c 200000000 /dev/zero | tail; exec sleep 60"
    id = containers("sh", "-c", fill, start=False, HostConfig=memory, **checked)
    next_event = heard(id, "oom", "health_status")
    assert api.ask("POST", f"/containers/{id}/start").status == 204
    if checked:
        assert next_event()["Action"] == "health_status: healthy"
    exec_id = api.ask(
        "POST", f"/containers/{id}/exec", {"Cmd": ["sh", "-c", "until [ -p /go ]; do :; done; echo > /go"]}
    )
    assert api.ask("POST", f"/exec/{exec_id.json['Id']}/start", {"Detach": True}).status == 200
    assert next_event()["Action"] == "oom"
    assert (api.state(id)["OOMKilled"], api.state(id)["Running"]) == (True, True)
    assert (shared_home.run / "engine.log").read_text().count("Traceback") == before
