"""The life of containers by docker-py: seen, changed, executed in, waited for."""

import threading

import docker
import pytest

pytestmark = pytest.mark.root
MB = 1 << 20


def refused(action, status, message):
    with pytest.raises(docker.errors.APIError) as caught:
        action()
    assert (caught.value.status_code, message in caught.value.explanation) == (status, True), caught.value.explanation


def test_lists_show_what_runs_unless_more_is_asked_for(client, create, start):
    first, second = start(labels={"list": "1"}), create("sh", "-c", "echo 'a b' c", labels={"list": "1"})

    def found(all=False, limit=-1, **filters):
        found = client.containers.list(all=all, limit=limit, filters={"label": "list=1", **filters})
        return [one.id for one in found]

    assert found() == [first.id]
    assert found(all=True) == [second.id, first.id]
    assert found(limit=1) == [second.id]
    assert (found(all=True, before=second.id), found(all=True, since=first.id)) == ([first.id], [second.id])
    assert found(status="created") == [second.id]
    assert found(all=True, exited="0") == []
    rows = client.api.containers(all=True, size=True, filters={"label": "list=1"})
    assert [row["Command"] for row in rows] == ["sh -c 'echo 'a b' c'", "sleep 60"]
    assert [row["Status"].split()[0] for row in rows] == ["Created", "Up"]
    assert all(row["SizeRootFs"] >= row["SizeRw"] >= 0 for row in rows)
    assert [row["HostConfig"] for row in rows] == [{"NetworkMode": "bridge"}] * 2


def test_an_image_whose_name_means_another_by_now_is_shown_by_its_id(client, create):
    image = client.images.get("busybox")
    image.tag("py-moved")
    about = client.api.create_container("py-moved", "true")
    client.images.build(fileobj=docker.utils.build.io.BytesIO(b"FROM busybox\nLABEL a=b\n"), tag="py-moved")
    rows = client.api.containers(all=True, filters={"id": about["Id"]})
    assert rows[0]["Image"] == rows[0]["ImageID"] == image.id
    client.api.remove_container(about)
    client.images.remove("py-moved", force=True)


def test_limits_are_updated_where_they_can_be(start):
    container = start(host={"mem_limit": "32m", "memswap_limit": "64m", "pids_limit": 20})

    def host():
        container.reload()
        return container.attrs["HostConfig"]

    container.update(
        mem_limit="48m", cpu_shares=512, cpuset_cpus="0", restart_policy={"Name": "on-failure", "MaximumRetryCount": 3}
    )
    assert (host()["Memory"], host()["CpuShares"], host()["CpusetCpus"]) == (48 * MB, 512, "0")
    assert host()["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    message = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
    refused(lambda: container.update(mem_limit="256m"), 409, message)
    container.update(mem_limit="256m", memswap_limit="512m")
    assert host()["Memory"] == 256 * MB
    refused(lambda: container.update(cpuset_cpus="999"), 400, "Requested CPUs are not available - requested 999")
    assert host()["PidsLimit"] == 20
    container.client.api._post_json(
        container.client.api._url("/containers/{0}/update", container.id), {"PidsLimit": -1}
    )
    assert host()["PidsLimit"] is None


def test_names_change_unless_they_are_taken(create):
    container, other = create(name="py-first"), create(name="py-second")
    container.rename("py-third")
    container.reload()
    assert container.name == "py-third"
    taken = 'Error when allocating new name: Conflict. The container name "/py-second" is already in use by container'
    refused(lambda: container.rename(other.name), 409, taken)
    refused(lambda: container.rename("py-third"), 400, "Renaming a container with the same name as its current name")
    refused(lambda: container.rename("not valid"), 400, "Invalid container name (not valid)")


def test_states_that_are_in_the_way_are_reported(create, start):
    container, idle = start(), create()
    container.start()  # 304: it is no error to want what is
    idle.stop()
    refused(idle.kill, 409, "is not running")
    refused(idle.pause, 409, "is not running")
    refused(lambda: idle.exec_run("true"), 409, "is not running")
    refused(idle.top, 409, "is not running")
    refused(lambda: container.kill("SIGNOTHING"), 400, "invalid signal: SIGNOTHING")
    refused(container.unpause, 500, "is not paused")
    container.pause()
    refused(container.pause, 409, "is already paused")
    refused(lambda: container.exec_run("true"), 409, "is paused, unpause the container before exec")
    container.unpause()
    refused(container.remove, 409, "container is running: stop the container before removing or force remove")
    refused(lambda: container.wait(condition="dance"), 400, "invalid condition")
    refused(lambda: container.logs(stdout=False, stderr=False), 400, "you must choose at least one stream")


@pytest.mark.parametrize(
    ("condition", "act", "code"),
    [
        ("not-running", lambda one: one.kill(), 137),
        ("next-exit", lambda one: one.stop(timeout=0), 137),
        ("removed", lambda one: one.remove(force=True), 137),
    ],
)
def test_a_wait_ends_with_what_it_waits_for(shared_home, client, start, condition, act, code):
    container = start()
    other = docker.DockerClient(shared_home.host)
    actor = threading.Thread(target=act, args=(other.containers.get(container.id),))
    waiting = client.api._post(
        client.api._url("/containers/{0}/wait", container.id), params={"condition": condition}, stream=True
    )
    actor.start()  # the wait was answered, so it has begun
    assert waiting.json() == {"StatusCode": code}
    actor.join()
    other.close()


def test_execs_have_their_own_user_place_and_variables(start):
    container = start(environment={"A": "container"})
    script = "echo $A $B; pwd; id -un"
    result = container.exec_run(["sh", "-c", script], environment={"B": "exec"}, workdir="/tmp", user="app")
    assert (result.exit_code, result.output) == (0, b"container exec\n/tmp\napp\n")
    assert container.exec_run("sh -c 'test -t 0'", tty=True, stdin=True).exit_code == 0
    assert container.exec_run("true", detach=True).output == ""
    granted = container.exec_run("grep CapEff /proc/self/status", privileged=True).output
    assert granted != container.exec_run("grep CapEff /proc/self/status").output
    streamed = container.exec_run(["sh", "-c", "echo a; sleep 0.1; echo b >&2"], stream=True, demux=True).output
    assert list(streamed) == [(b"a\n", None), (None, b"b\n")]


def test_what_is_typed_into_an_execs_socket_comes_back(start):
    stream = start().exec_run("cat", stdin=True, socket=True).output
    stream._sock.sendall(b"ping\n")
    assert docker.utils.socket.next_frame_header(stream) == (1, 5)
    assert docker.utils.socket.read_exactly(stream, 5) == b"ping\n"
    stream.close()


@pytest.mark.parametrize(
    ("command", "options", "code", "message"),
    [
        (
            "pwd",
            {"workdir": "/none"},
            127,
            'chdir to cwd ("/none") set in config.json failed: no such file or directory',
        ),
        ("pwd", {"workdir": "/etc/passwd"}, 127, "not a directory"),
        ("no-such-program", {}, 127, "executable file not found in $PATH"),
        ("/etc/passwd", {}, 126, "permission denied"),
    ],
)
def test_execs_that_cannot_begin_say_why(start, command, options, code, message):
    result = start().exec_run(command, **options)
    assert (result.exit_code, message in result.output.decode()) == (code, True), result.output


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nobody-here", "unable to find user nobody-here: no matching entries in passwd file"),
        ("root:no-group", "unable to find group no-group: no matching entries in group file"),
    ],
)
def test_an_exec_as_nobody_the_container_knows_is_refused_at_once(start, user, message):
    container = start()
    refused(lambda: container.exec_run("true", user=user), 400, message)
    assert container.exec_run("id -u", user="app").output == b"1000\n"
    assert container.exec_run("id -u", user="4242").output == b"4242\n"


def test_an_exec_is_inspected_and_runs_once(client, start):
    container = start()
    id = client.api.exec_create(container.id, ["sh", "-c", "exit 3"], user="app", privileged=True)["Id"]
    about = client.api.exec_inspect(id)
    assert about["ProcessConfig"] == {
        "tty": False, "entrypoint": "sh", "arguments": ["-c", "exit 3"], "privileged": True, "user": "app",
    }  # fmt: skip
    assert (about["Running"], about["ExitCode"], about["Pid"], about["ContainerID"]) == (False, None, 0, container.id)
    client.api.exec_start(id)
    assert client.api.exec_inspect(id)["ExitCode"] == 3
    assert client.api.exec_start(id) == f"exec command {id} has already run\r\n".encode()  # said in the stream
    refused(lambda: client.api.exec_start(id, detach=True), 409, f"exec command {id} has already run")
    refused(lambda: client.api.exec_inspect("nothing"), 404, "No such exec instance: nothing")
    refused(lambda: client.api.exec_create(container.id, []), 400, "No exec command specified")


@pytest.mark.parametrize(("has_terminal", "wants_terminal"), [(True, False), (False, True)])
def test_the_start_of_an_exec_decides_how_its_output_is_framed(client, start, has_terminal, wants_terminal):
    command = ["sh", "-c", "echo out; echo err >&2"]
    id = client.api.exec_create(start().id, command, tty=has_terminal)["Id"]
    output = client.api.exec_start(id, tty=wants_terminal)
    # with a terminal both are standard output; what is not framed can't say which stream it is, so one is left out
    assert output == (b"out\r\nerr\r\n" if has_terminal else b"out\n")
    if not wants_terminal:
        id = client.api.exec_create(start().id, command, tty=True)["Id"]
        assert client.api.exec_start(id, demux=True) == (b"out\r\nerr\r\n", None)


def test_execs_that_have_ended_are_no_longer_named(client, start):
    container = start()
    asked = client.api.exec_create(container.id, ["true"])["Id"]
    container.exec_run("true")
    container.reload()
    assert container.attrs["ExecIDs"] == [asked]
    client.api.exec_start(asked)
    container.reload()
    assert container.attrs["ExecIDs"] is None
    assert client.api.exec_inspect(asked)["ExitCode"] == 0


def test_each_line_of_a_log_is_a_frame_and_a_terminal_writes_to_stdout_alone(client, start):
    container = start("sh", "-c", "echo a; printf 'b\\n\\nc'")
    container.wait()
    assert list(container.logs(stream=True)) == [b"a\n", b"b\n", b"\n", b"c"]
    assert list(container.logs(stream=True, follow=True)) == [b"a\n", b"b\n", b"\n", b"c"]
    shown = start("echo", "shown", tty=True)
    shown.wait()
    assert (shown.logs(stdout=False), shown.logs(stderr=False)) == (b"", b"shown\r\n")


def test_an_attached_socket_carries_both_ways(start):
    container = start("cat", stdin_open=True, tty=True)
    stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    stream._sock.sendall(b"hello\n")
    assert docker.utils.socket.read_exactly(stream, 14) == b"hello\r\nhello\r\n"
    stream.close()
    container.resize(41, 101)
    assert container.exec_run("cat /proc/1/comm").output == b"cat\n"


def test_statistics_have_dockers_members_running_or_not(client, create, start):
    running, idle = start(host={"mem_limit": "32m"}), create()
    once = client.api.stats(running.id, stream=False, one_shot=True)
    assert once["memory_stats"]["limit"] == 32 * MB
    assert once["preread"] == "0001-01-01T00:00:00Z"
    assert once["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert len(once["blkio_stats"]) == 8
    counts = ("bytes", "packets", "errors", "dropped")
    assert once["networks"]["eth0"].keys() == {f"{way}_{what}" for way in ("rx", "tx") for what in counts}
    stream = running.stats(decode=True)
    assert next(stream)["name"] == f"/{running.name}"
    nothing = idle.stats(stream=False)
    assert (nothing["read"], nothing["memory_stats"], nothing["pids_stats"]) == ("0001-01-01T00:00:00Z", {}, {})
    assert "networks" not in nothing


def test_a_cgroup_parent_is_discarded_with_a_warning(create):
    assert create(host={"cgroup_parent": "/elsewhere"}).warnings[-1].endswith("CgroupParent has no effect.")


def test_images_are_made_of_containers(client, start):
    container = start("sh", "-c", "echo made > /file; sleep 60")
    image = container.commit(
        "py-committed", "v1", message="why", author="who", changes=["ENV Z=1"], conf={"Labels": {"l": "1"}}
    )
    assert (image.tags, image.labels, image.attrs["Author"]) == (["py-committed:v1"], {"l": "1"}, "who")
    assert image.history()[0]["Comment"] == "why"
    assert client.containers.run(image, ["sh", "-c", "echo $Z"], remove=True) == b"1\n"
    refused(lambda: container.commit("Py-Committed"), 400, "repository name (library/Py-Committed) must be lowercase")
    client.images.remove("py-committed:v1")
