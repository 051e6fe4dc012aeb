"""`skiff oci`: the states of a container, and what is an error in each (OCI runtime spec, runtime.md)."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

from runtime.oci.cgroup import Cgroups
from tests.support.bundles import PROGRAM, wait

pytestmark = pytest.mark.root


def test_a_container_is_created_started_stopped_and_deleted(oci):
    identity = oci.create(oci.document("sh", "-c", "echo ran > /data/ran; sleep 1000"))
    state = oci.get(identity)
    assert (state["id"], state["status"], state["bundle"]) == (identity, "created", str(oci.folder / identity))
    assert state["ociVersion"].startswith("1.")
    assert not (oci.rootfs / "data/ran").exists()
    assert os.path.samefile(f"/proc/{state['pid']}/exe", sys.executable)
    oci("start", identity)
    started = oci.get(identity)
    assert (started["status"], started["pid"]) == ("running", state["pid"])
    oci.end(identity)
    assert oci.get(identity)["status"] == "stopped"
    oci("delete", identity)
    assert oci("state", identity, check=False).returncode == 1
    assert not any(os.path.exists(path) for path in Cgroups().directories(f"/skiff.oci/{identity}").values())


def test_the_configuration_is_the_one_of_the_creation(oci):
    identity = oci.create(oci.document("echo", "first"))
    (oci.folder / identity / "config.json").write_text(json.dumps(oci.document("echo", "second")))
    pidfd = os.pidfd_open(oci.get(identity)["pid"])
    oci("start", identity)
    wait(pidfd)
    assert oci.out(identity) == "first\n"


@pytest.mark.parametrize(
    ("status", "command", "reason"),
    [
        ("created", ["delete"], "is created"),
        ("created", ["resume"], "is created, not paused"),
        ("running", ["start"], "is running, not created"),
        ("running", ["delete"], "is running"),
        ("stopped", ["start"], "is stopped, not created"),
        ("stopped", ["kill"], "container not running"),
        ("stopped", ["pause"], "is stopped"),
        ("stopped", ["update", "--pids-limit", "10"], "is stopped"),
        ("stopped", ["exec"], "is stopped"),
        ("paused", ["exec"], "is paused"),
        ("paused", ["start"], "is paused, not created"),
    ],
)
def test_what_a_state_does_not_allow_is_refused_and_changes_nothing(oci, status, command, reason):
    identity = oci.create(oci.document("sleep", "1000"))
    if status != "created":
        oci("start", identity)
    if status == "stopped":
        oci.end(identity)
    if status == "paused":
        oci("pause", identity)
    before = oci.get(identity)
    done = oci(*command, identity, *(["true"] if command == ["exec"] else []), check=False)
    assert done.returncode == (255 if command == ["exec"] else 1)
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert oci.get(identity) == before


@pytest.mark.parametrize("command", ["state", "start", "kill", "delete", "pause", "resume", "ps", "update", "events"])
def test_a_container_that_is_not_there_is_reported_as_such(oci, command):
    done = oci(command, "nobody", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "container nobody does not exist" in done.stderr


def test_deleting_by_force_takes_any_state_and_none(oci):
    identities = [oci.create(oci.document("sleep", "1000")) for _ in range(2)]
    oci("start", identities[1])
    for identity in identities:
        oci("delete", "--force", identity)
        assert oci("state", identity, check=False).returncode == 1
    assert oci("delete", "--force", identities[0]).returncode == 0


def test_an_id_is_taken_once_and_looks_like_one(oci):
    identity = oci.detached(oci.document("sleep", "1000"))
    folder = oci.folder / identity
    before = oci.get(identity)
    done = oci("create", "--bundle", folder, identity, check=False)
    assert done.returncode == 1
    assert "exists" in done.stderr
    assert oci.get(identity) == before
    for bad in ("", "..", "a/b", "a b", "ä"):
        assert "invalid container ID" in oci("create", "--bundle", folder, bad, check=False).stderr


def test_of_many_that_create_one_id_at_once_one_does(oci):
    folder, identity = oci.bundle(oci.document("sleep", "1000"))
    ends = [
        subprocess.Popen(
            [*PROGRAM, "--root", oci.state, "create", "--bundle", folder, identity],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(6)
    ]  # fmt: skip
    assert sorted(end.wait(60) for end in ends) == [0, 1, 1, 1, 1, 1]
    oci("start", identity)
    assert oci.get(identity)["status"] == "running"


def test_many_are_made_at_once_next_to_what_killed_ones_left(oci):
    left = oci.state / ".new-left"
    left.mkdir(parents=True, exist_ok=True)
    (left / "state.json").write_text("{}")
    bundles = [oci.bundle(oci.document("true")) for _ in range(8)]
    ends = [_quietly(oci, "run", "--bundle", folder, identity) for folder, identity in bundles]
    assert [end.wait(60) for end in ends] == [0] * 8
    assert not left.exists()


def test_of_many_that_start_one_container_at_once_one_does(oci):
    identity = oci.create(oci.document("sh", "-c", "echo once >> /data/once; sleep 1000"))
    ends = [
        subprocess.Popen([*PROGRAM, "--root", oci.state, "start", identity], stderr=subprocess.DEVNULL)
        for _ in range(5)
    ]
    assert sorted(end.wait(60) for end in ends) == [0, 1, 1, 1, 1]


def test_run_ends_as_its_process_does_and_leaves_nothing(oci):
    done = oci.run(oci.document("sh", "-c", "echo out; echo err >&2; exit 7"), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert oci.run(oci.document("sh", "-c", "kill -9 $$"), check=False).returncode in (0, 137)  # PID 1 survives itself
    document = oci.document("sh", "-c", "kill -9 $$")
    document["linux"]["namespaces"] = [one for one in document["linux"]["namespaces"] if one["type"] != "pid"]
    assert oci.run(document, check=False).returncode == 137
    assert json.loads(oci("list", "--format", "json").stdout) == []


def test_run_hands_signals_on(oci):
    folder, identity = oci.bundle(oci.document("sh", "-c", "trap 'echo got; exit 3' TERM; echo up; sleep 1000 & wait"))
    process = subprocess.Popen(
        [*PROGRAM, "--root", oci.state, "run", "--bundle", folder, identity], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "got\n"
    assert process.returncode == 3


def test_what_can_not_be_executed_is_reported_before_the_start(oci):
    for arguments, reason in (
        (["nothing-of-that-name"], "executable file not found in $PATH"),
        (["/nothing"], "no such file or directory"),
        (["/etc/passwd"], "permission denied"),
    ):
        folder, identity = oci.bundle(oci.document(*arguments))
        done = oci("create", "--bundle", folder, identity, check=False)
        assert done.returncode == 1
        assert reason in done.stderr
        assert oci("state", identity, check=False).returncode == 1


def test_a_program_of_another_machine_fails_the_start(oci):
    (oci.rootfs / "data/odd").write_bytes(b"no program")
    (oci.rootfs / "data/odd").chmod(0o755)
    identity = oci.create(oci.document("/data/odd"))
    done = oci("start", identity, check=False)
    assert done.returncode == 1
    assert "exec format error" in done.stderr
    assert oci.get(identity)["status"] == "stopped"


@pytest.mark.parametrize("command", ["create", "start", "run", "delete"])
def test_killed_at_any_moment_it_leaves_only_what_delete_removes(oci, command):
    """Kill the command at moments from its beginning to its end; what it left can be deleted, or is nothing."""
    folder, identity = oci.bundle(oci.document("sh", "-c", "echo $$; exec sleep 1000"))
    words = {"create": ["--bundle", folder], "run": ["--detach", "--bundle", folder], "delete": ["--force"]}
    moments, whole_s = 6, 0.0
    for moment in range(moments + 1):
        if command in ("start", "delete"):
            _quietly(oci, "create", "--bundle", folder, identity).wait(60)
        begun = time.monotonic()
        process = _quietly(oci, command, *words.get(command, ()), identity)
        pidfd = os.pidfd_open(process.pid)
        # the first is let through: it shows how long the whole takes
        if not _ends_within(pidfd, whole_s * moment / moments if whole_s else 60):
            process.kill()
        process.wait(10)
        os.close(pidfd)
        whole_s = whole_s or time.monotonic() - begun
        found = oci("state", identity, check=False)
        if found.returncode == 0:
            assert json.loads(found.stdout)["status"] in ("creating", "created", "running", "stopped")
        oci("delete", "--force", identity)
        assert oci("state", identity, check=False).returncode == 1
        assert not any(os.path.exists(path) for path in Cgroups().directories(f"/skiff.oci/{identity}").values())


def _quietly(oci, *words):
    return subprocess.Popen(
        [*PROGRAM, "--root", oci.state, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _ends_within(pidfd, seconds):
    return bool(select.select([pidfd], [], [], seconds)[0])


def test_a_killed_start_can_be_repeated(oci):
    """Somebody who connects and goes before saying anything does not use the start up."""
    identity = oci.create(oci.document("sleep", "1000"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as early:
        early.connect(str(oci.state / identity / "start"))
    assert oci.get(identity)["status"] == "created"
    oci("start", identity)
    assert oci.get(identity)["status"] == "running"


def test_pausing_stops_every_process_and_resuming_lets_them_go_on(oci):
    identity = oci.started(oci.document("sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; done > /dev/null"))
    oci("pause", identity)
    assert oci.get(identity)["status"] == "paused"
    pid = oci.get(identity)["pid"]
    used = _cpu_ticks(pid)
    assert _cpu_ticks(pid) == used
    oci("resume", identity)
    assert oci.get(identity)["status"] == "running"
    oci("pause", identity)
    oci("delete", "--force", identity)


def _cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[11]


def test_kill_takes_names_and_numbers_and_everybody(oci):
    document = oci.document(
        "sh", "-c", "trap 'echo usr1' USR1; trap 'echo rt' 36; echo up; while true; do sleep 0.05; done"
    )
    identity = oci.started(document)
    _await(oci, identity, "up")
    for name in ("USR1", "SIGUSR1", "sigusr1", str(int(signal.SIGUSR1))):
        count = oci.out(identity).count("usr1")
        oci("kill", identity, name)
        _await(oci, identity, "usr1", count + 1)
    oci("kill", identity, "RTMIN+2")
    _await(oci, identity, "rt")
    assert "unknown signal" in oci("kill", identity, "NOPE", check=False).stderr
    pidfd = os.pidfd_open(oci.get(identity)["pid"])
    oci("kill", "--all", identity, "KILL")
    wait(pidfd)


def _await(oci, identity, text, count=1):
    """Return once the container has written `text` so many times."""
    deadline_s = time.monotonic() + 20
    while oci.out(identity).count(text) < count:
        assert time.monotonic() < deadline_s, oci.out(identity)
        select.select([], [], [], 0.01)  # there is no event for a file that grows


def test_list_and_ps_show_what_there_is(oci):
    identity = oci.started(oci.document("sh", "-c", "sleep 999 & sleep 1000; true"))
    stopped = oci.create(oci.document("true"))
    oci.end(stopped)
    listed = {state["id"]: state["status"] for state in json.loads(oci("list", "-f", "json").stdout)}
    assert listed == {identity: "running", stopped: "stopped"}
    assert sorted(oci("list", "-q").stdout.split()) == sorted(listed)
    table = oci("list").stdout.splitlines()
    assert table[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    pids = json.loads(oci("ps", "--format", "json", identity).stdout)
    assert oci.get(identity)["pid"] in pids
    shown = oci("ps", identity).stdout
    assert "sleep 1000" in shown
    assert len(shown.splitlines()) == 1 + len(pids)


def test_the_pid_file_names_the_process(oci):
    identity = oci.detached(oci.document("sleep", "1000"), "--pid-file", oci.folder / "pid")
    assert int((oci.folder / "pid").read_text()) == oci.get(identity)["pid"]


def test_errors_go_to_the_log_as_json_too(oci, tmp_path):
    oci("state", "nobody", check=False, options=["--log", tmp_path / "log", "--log-format", "json"])
    entry = json.loads((tmp_path / "log").read_text())
    assert (entry["level"], entry["msg"]) == ("error", "container nobody does not exist")
    assert "systemd" in oci("list", check=False, options=["--systemd-cgroup"]).stderr


def test_the_commands_are_reported(oci):
    shown = oci("help").stdout
    assert shown == oci().stdout == oci("--help").stdout
    assert {"create", "start", "state", "features"} <= set(shown.split())
    assert "usage: skiff oci exec" in oci("exec", "--help").stdout
    assert "unknown command 'nothing'" in oci("nothing", check=False).stderr
    assert oci("--version").stdout.splitlines()[1].startswith("spec: 1.")


def test_a_document_to_begin_with_runs(oci, tmp_path):
    oci("spec", "--bundle", tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    assert "exists" in oci("spec", "--bundle", tmp_path, check=False).stderr
    document["process"].update(terminal=False, args=["hostname"])
    (tmp_path / "rootfs").symlink_to(oci.rootfs)
    (tmp_path / "config.json").write_text(json.dumps(document))
    assert oci("run", "--bundle", tmp_path, oci.prefix).stdout == "skiff\n"


def test_features_name_what_the_document_may_ask_for(oci):
    found = json.loads(oci("features").stdout)
    assert {"createRuntime", "poststop"} <= set(found["hooks"])
    assert {"rbind", "ro", "rslave"} <= set(found["mountOptions"])
    assert set(found["linux"]["namespaces"]) >= {"time", "user", "cgroup"}
    assert "SCMP_ACT_NOTIFY" in found["linux"]["seccomp"]["actions"]
