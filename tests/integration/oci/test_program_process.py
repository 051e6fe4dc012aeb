"""`skiff oci`: everything of the document's `process`, hooks, terminals, and what `exec` adds (config.md)."""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.bundles import PROGRAM, wait
from tests.support.terminal import Terminal

pytestmark = pytest.mark.root


def test_the_process_has_the_identity_of_the_document(oci):
    document = oci.document("sh", "-c", "id -u; id -g; id -G; umask; pwd; echo $HOME $A; head -n 1 /proc/1/status")
    document["process"].update(
        user={"uid": 1000, "gid": 1001, "additionalGids": [5, 2000], "umask": 0o27},
        cwd="/data", env=[*document["process"]["env"], "A=b=c"],
    )  # fmt: skip
    lines = oci.run(document).stdout.splitlines()
    assert lines[:2] == ["1000", "1001"]
    assert set(lines[2].split()) == {"1001", "5", "2000"}
    assert lines[3:] == ["0027", "/data", "/home/app b=c", "Name:\thead"]


def test_capabilities_are_those_of_the_sets(oci):
    document = oci.document("grep", "^Cap", "/proc/self/status")
    document["process"]["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NOBODY_KNOWS"],
        "effective": ["CAP_KILL"],
        "permitted": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }
    document["process"]["user"] = {"uid": 1000, "gid": 1000}
    done = oci.run(document)
    sets = dict(line.split(":\t") for line in done.stdout.splitlines())
    kill, chown = 1 << 5, 1 << 0
    assert {name: int(mask, 16) for name, mask in sets.items()} == {
        "CapInh": kill, "CapPrm": kill, "CapEff": kill, "CapBnd": kill | chown, "CapAmb": kill,
    }  # fmt: skip
    assert "unknown capability CAP_NOBODY_KNOWS" in done.stderr


def test_limits_scores_and_privileges_are_set(oci):
    document = oci.document(
        "sh",
        "-c",
        "ulimit -Sn; ulimit -Hn; ulimit -Sc; cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status",
    )
    document["process"].update(
        rlimits=[
            {"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
        ],
        oomScoreAdj=321, noNewPrivileges=True,
    )  # fmt: skip
    assert oci.run(document).stdout.split() == ["77", "99", "0", "321", "NoNewPrivs:", "1"]


def test_scheduler_and_io_priority_are_set(oci):
    document = oci.document("cat", "/proc/self/stat")
    document["process"].update(
        scheduler={"policy": "SCHED_BATCH", "nice": 7}, ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    )
    fields = oci.run(document).stdout.rpartition(")")[2].split()
    assert (fields[16], fields[38]) == ("7", "3")  # nice, policy: SCHED_BATCH (proc(5))


def test_personality_is_set(oci):
    document = oci.document("uname", "-m")
    document["linux"]["personality"] = {"domain": "LINUX32"}
    assert oci.run(document).stdout in ("i686\n", "armv8l\n")


def test_exec_joins_and_takes_its_own_settings(oci):
    document = oci.document("sleep", "1000")
    document["process"]["env"].append("KEPT=1")
    identity = oci.started(document)
    shell = (
        "id -u; id -g; pwd; echo $KEPT $NEW; hostname; readlink /proc/self/ns/net; cat /proc/1/cmdline | tr '\\0' ' '"
    )
    done = oci("exec", "-u", "1000:5", "-e", "NEW=2", "--cwd", "/tmp", "-g", "77", identity, "sh", "-c", shell)
    net = os.readlink(f"/proc/{oci.get(identity)['pid']}/ns/net")
    assert done.stdout.splitlines() == ["1000", "5", "/tmp", "1 2", "skiff", net, "sleep 1000 "]
    assert oci("exec", identity, "sh", "-c", "exit 9", check=False).returncode == 9
    assert oci("exec", identity, "sh", "-c", "kill -9 $$", check=False).returncode == 137
    missing = oci("exec", identity, "nothing", check=False)
    assert (missing.returncode, "executable file not found" in missing.stderr) == (255, True)


def test_the_interpreter_of_the_host_can_not_be_written(oci):
    # CVE-2019-5736: a container that executes what its runtime is
    identity = oci.create(oci.document("sleep", "1000"))
    assert os.statvfs(f"/proc/{oci.get(identity)['pid']}/exe").f_flag & os.ST_RDONLY
    (oci.rootfs / "bin/self").symlink_to("/proc/self/exe")
    oci("start", identity)
    assert oci("exec", identity, "/bin/self", "-c", "print('ran')", check=False).stdout == ""
    assert oci.run(oci.document("/bin/self", "-c", "print('ran')"), check=False).stdout == ""


def test_exec_takes_a_process_as_a_file(oci, tmp_path):
    identity = oci.started(oci.document("sleep", "1000"))
    process = {
        "args": ["sh", "-c", "id -u; pwd; echo $A"],
        "cwd": "/data",
        "env": ["PATH=/bin", "A=1"],
        "user": {"uid": 3},
    }
    (tmp_path / "process.json").write_text(json.dumps(process))
    assert oci("exec", "--process", tmp_path / "process.json", identity).stdout.split() == ["3", "/data", "1"]


def test_exec_has_more_capabilities_on_request(oci):
    identity = oci.started(oci.document("sleep", "1000"))
    shown = oci("exec", "--cap", "CAP_SYS_ADMIN", identity, "grep", "CapEff", "/proc/self/status").stdout
    assert int(shown.split()[1], 16) >> 21 & 1


def test_exec_is_bound_to_cpus(oci, tmp_path):
    identity = oci.started(oci.document("sleep", "1000"))
    process = {
        "args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/", "env": ["PATH=/bin"],
        "execCPUAffinity": {"initial": "0", "final": "0"},
    }  # fmt: skip
    (tmp_path / "process.json").write_text(json.dumps(process))
    assert oci("exec", "-p", tmp_path / "process.json", identity).stdout.split() == ["Cpus_allowed_list:", "0"]


def test_exec_is_in_the_cgroup_and_left_to_itself_on_request(oci, tmp_path):
    identity = oci.started(oci.document("sleep", "1000"))
    with open(tmp_path / "out", "wb") as out:
        subprocess.run(
            [*PROGRAM, "--root", oci.state, "exec", "-d", "--pid-file", tmp_path / "pid", identity, "sleep", "900"],
            check=True, stdout=out, stderr=out, stdin=subprocess.DEVNULL, timeout=30,
        )  # fmt: skip
    pid = int((tmp_path / "pid").read_text())
    assert pid in json.loads(oci("ps", "--format", "json", identity).stdout)
    pidfd = os.pidfd_open(pid)
    oci("delete", "--force", identity)
    wait(pidfd)


def test_descriptors_are_passed_on_and_no_others(oci, tmp_path):
    (tmp_path / "passed").write_text("passed on")
    passed, secret = os.open(tmp_path / "passed", os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    os.dup2(passed, 33)
    document = oci.document("sh", "-c", "cat <&3; echo; ls /proc/self/fd; echo $LISTEN_FDS $LISTEN_PID")
    folder, identity = oci.bundle(document)
    code = (
        "import os,sys; os.dup2(int(sys.argv[1]),3); os.dup2(int(sys.argv[2]),7); os.execvp(sys.argv[3],sys.argv[3:])"
    )
    words = [sys.executable, "-c", code, "33", str(secret), *PROGRAM, "--root", oci.state, "run", "--preserve-fds"]
    done = subprocess.run(
        [*words, "1", "--bundle", folder, identity], pass_fds=(33, secret), capture_output=True, text=True, timeout=60
    )
    for descriptor in (passed, secret, 33):
        os.close(descriptor)
    lines = done.stdout.split()
    assert lines[:2] == ["passed", "on"], done.stderr
    assert set(lines[2:]) <= {"0", "1", "2", "3", "4"}
    refused = oci("run", "--preserve-fds", "40", "--bundle", folder, identity, check=False)
    assert "is not open" in refused.stderr


def test_a_stream_that_the_caller_has_closed_is_no_file_of_ours(oci):
    folder, identity = oci.bundle(
        oci.document("sh", "-c", "a=$(readlink /proc/$$/fd/0); b=$(readlink /proc/$$/fd/1); echo $a $b >&2")
    )
    words = " ".join(map(str, [*PROGRAM, "--root", oci.state, "run", "--bundle", folder, identity]))
    done = subprocess.run(["sh", "-c", f"exec {words} 0<&- 1>&-"], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.stderr.split() == ["/dev/null", "/dev/null"]


def test_a_terminal_is_sent_to_the_console_socket(oci, tmp_path):
    document = oci.document(
        "sh", "-c", "tty; stty size 2>/dev/null; read line; echo got $line; test -c /dev/console && echo ok"
    )
    document["process"].update(terminal=True, consoleSize={"height": 33, "width": 99})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        identity = oci.create(document, "--console-socket", tmp_path / "console")
        connection, _ = listener.accept()
        _, (terminal,), _, _ = socket.recv_fds(connection, 64, 1)
        connection.close()
    pidfd = os.pidfd_open(oci.get(identity)["pid"])
    oci("start", identity)
    os.write(terminal, b"hello\n")
    wait(pidfd)
    shown = b""
    while chunk := _read(terminal):
        shown += chunk
    os.close(terminal)
    assert b"/dev/pts/0" in shown
    assert b"got hello" in shown
    assert b"ok" in shown


def _read(descriptor):
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""


def test_a_terminal_without_somebody_at_it_is_refused(oci, tmp_path):
    document = oci.document("sh")
    document["process"]["terminal"] = True
    folder, identity = oci.bundle(document)
    assert "--console-socket" in oci("create", "--bundle", folder, identity, check=False).stderr
    assert "--console-socket" in oci("run", "-d", "--bundle", folder, identity, check=False).stderr
    folder, identity = oci.bundle(oci.document("true"))
    done = oci("create", "--console-socket", tmp_path / "no", "--bundle", folder, identity, check=False)
    assert "--console-socket needs process.terminal" in done.stderr


def test_run_shows_the_terminal_on_ours(oci):
    document = oci.document("sh")
    document["process"]["terminal"] = True
    folder, identity = oci.bundle(document)
    terminal = Terminal([*PROGRAM, "--root", oci.state, "run", "--bundle", folder, identity], columns=91, rows=31)
    terminal.type("stty size || tty\n")
    while b"/dev/pts/0" not in terminal.written and b"31 91" not in terminal.written:
        assert terminal.feed()
    terminal.type("exit 5\n")
    while terminal.feed():
        pass
    assert terminal.process.wait(30) == 5


def test_hooks_run_in_their_order_and_place_with_the_state(oci, tmp_path):
    """Each hook notes its name, its mount and network namespace, and the state that it was given."""
    record = oci.rootfs / "data/hooks"
    record.write_text("")
    script = tmp_path / "hook"
    script.write_text(
        "#!/bin/sh\nread state\n"
        f'for place in {record} /data/hooks; do test -w $place && '
        'echo "$1 $(readlink /proc/self/ns/net) $HOOK $state" >> $place && exit 0; done\nexit 1\n'
    )  # fmt: skip
    script.chmod(0o755)
    inside = oci.rootfs / "bin/hook"
    inside.write_text(script.read_text())
    inside.chmod(0o755)
    document = oci.document("sh", "-c", "echo process >> /data/hooks; sleep 1000")
    document["annotations"] = {"a": "b"}
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    document["hooks"] = {
        kind: [
            {
                "path": "/bin/hook" if kind == "startContainer" else str(script),
                "args": ["hook", kind],
                "env": ["PATH=/bin:/usr/bin", "HOOK=yes"],
            }
        ]
        for kind in kinds
    }
    identity = oci.create(document)
    host, net = os.readlink("/proc/self/ns/net"), os.readlink(f"/proc/{oci.get(identity)['pid']}/ns/net")
    assert [line.split()[0] for line in record.read_text().splitlines()] == list(kinds[:3])
    oci("start", identity)
    pid = oci.get(identity)["pid"]
    oci.end(identity)
    oci("delete", identity)
    lines = [line.split(" ", 3) for line in record.read_text().splitlines()]
    order = [line[0] for line in lines]
    assert [kind for kind in order if kind != "process"] == list(kinds)
    assert order.index("startContainer") < order.index("process")
    notes = {line[0]: line[1:] for line in lines if line[0] != "process"}
    assert {kind: note[0] for kind, note in notes.items()} == {
        "prestart": host, "createRuntime": host, "createContainer": net, "startContainer": net, "poststart": host,
        "poststop": host,
    }  # fmt: skip
    states = {kind: json.loads(note[2]) for kind, note in notes.items()}
    assert {kind: state["status"] for kind, state in states.items()} == {
        "prestart": "creating", "createRuntime": "creating", "createContainer": "creating", "startContainer": "created",
        "poststart": "running", "poststop": "stopped",
    }  # fmt: skip
    for kind, state in states.items():
        assert (state["id"], state["annotations"], state["bundle"]) == (
            identity,
            {"a": "b"},
            str(oci.folder / identity),
        )
        assert state["pid"] == (0 if kind == "poststop" else pid)
        assert notes[kind][1] == "yes"


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("prestart", "create"),
        ("createRuntime", "create"),
        ("createContainer", "create"),
        ("startContainer", "start"),
        ("poststart", "start"),
    ],
)
def test_a_hook_that_fails_ends_the_container(oci, tmp_path, kind, command):
    document = oci.document("sleep", "1000")
    marker = tmp_path / "gone"
    fails = {"path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 4"]}
    document["hooks"] = {
        kind: [fails],
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo done > {marker}"]}],
    }
    if command == "create":
        folder, identity = oci.bundle(document)
        done = oci("create", "--bundle", folder, identity, check=False)
    else:
        identity = oci.create(document)
        done = oci("start", identity, check=False)
    assert oci("state", identity, check=False).returncode == 1
    assert done.returncode == 1
    assert f"{kind} hook #0" in done.stderr
    assert "exit status 4" in done.stderr
    assert "because" in done.stderr
    assert marker.read_text() == "done\n"


def test_hooks_get_a_state_of_any_size(oci, tmp_path):
    document = oci.document("true")
    document["annotations"] = {f"key{number}": "x" * 1000 for number in range(400)}
    script = tmp_path / "count"
    script.write_text(f"#!/bin/sh\nwc -c >> {oci.rootfs}/data/sizes 2>/dev/null || wc -c >> /data/sizes\n")
    script.chmod(0o755)
    (oci.rootfs / "bin/count").write_text(script.read_text())
    (oci.rootfs / "bin/count").chmod(0o755)
    document["hooks"] = {
        kind: [{"path": "/bin/count" if kind == "startContainer" else str(script)}]
        for kind in ("createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    }
    oci.run(document)
    sizes = [int(line) for line in (oci.rootfs / "data/sizes").read_text().split()]
    assert len(sizes) == 5
    assert min(sizes) > 400_000


def test_a_hook_has_its_time(oci):
    document = oci.document("true")
    document["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]}
    done = oci.run(document, check=False)
    assert (done.returncode, "did not exit within 1 s" in done.stderr) == (1, True)


def test_a_hook_may_ask_for_the_state(oci, tmp_path):
    document = oci.document("true")
    command = [*PROGRAM, "--root", str(oci.state), "state"]
    folder, identity = oci.bundle(document)
    script = " ".join([*command, identity, ">", str(tmp_path / "state")])
    document["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"cd {os.getcwd()} && {script}"]}]}
    (folder / "config.json").write_text(json.dumps(document))
    oci("run", "--bundle", folder, identity)
    told = json.loads((tmp_path / "state").read_text())
    assert told["status"] == "creating"
    assert told["pid"] > 0


def test_a_poststop_hook_that_fails_is_only_reported(oci):
    document = oci.document("echo", "well")
    document["hooks"] = {"poststop": [{"path": "/nothing"}, {"path": "/bin/false"}]}
    done = oci.run(document)
    assert done.stdout == "well\n"
    assert "warning: poststop hook #0" in done.stderr


def test_a_label_without_its_security_module_is_refused(oci):
    for field in ("apparmorProfile", "selinuxLabel"):
        document = oci.document("true")
        document["process"][field] = "some_label"
        assert "not enabled on this machine" in oci.run(document, check=False).stderr


def test_run_reaps_what_comes_to_it(oci):
    """Without a PID namespace orphans come to the program: none of them stays a zombie."""
    document = oci.document("sh", "-c", "for i in 1 2 3; do (sleep 0.2 & ); done; echo up; sleep 1000")
    document["linux"]["namespaces"] = [one for one in document["linux"]["namespaces"] if one["type"] != "pid"]
    folder, identity = oci.bundle(document)
    process = subprocess.Popen(
        [*PROGRAM, "--root", oci.state, "run", "--bundle", folder, identity], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    init = oci.get(identity)["pid"]
    deadline_s = time.monotonic() + 20
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while children.read_text().split() != [str(init)]:
        assert time.monotonic() < deadline_s, children.read_text()
        select.select([], [], [], 0.02)  # there is no event for children of other processes
    oci("kill", identity, "KILL")
    process.communicate(timeout=20)
    assert process.returncode == 137


def test_interrupting_run_ends_the_container(oci):
    folder, identity = oci.bundle(oci.document("sh", "-c", "trap 'exit 3' INT; echo up; sleep 1000 & wait"))
    process = subprocess.Popen(
        [*PROGRAM, "--root", oci.state, "run", "--bundle", folder, identity], stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 3
    assert json.loads(oci("list", "-f", "json").stdout) == []


def test_hooks_run_in_the_directory_of_the_bundle(oci, tmp_path):
    document = oci.document("true")
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    record = tmp_path / "record"
    document["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} $(pwd) >> {record}"]}] for kind in kinds
    }
    folder, identity = oci.bundle(document)
    oci(
        "run",
        "--bundle",
        folder,
        "--pid-file",
        "pid",
        identity,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert record.read_text().splitlines() == [f"{kind} {folder}" for kind in kinds]
    assert (tmp_path / "pid").exists()  # of the caller's directory


def test_limits_that_are_not_named_are_the_callers(oci):
    document = oci.document("sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c; ulimit -f")
    document["process"]["rlimits"] = [{"type": "RLIMIT_FSIZE", "soft": 512 * 100, "hard": 512 * 100}]

    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (123, 456))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    assert oci.run(document, preexec_fn=lower).stdout.split() == ["123", "456", "0", "100"]
    del document["process"]["rlimits"]
    document["process"]["args"] = ["sleep", "1000"]
    identity = oci.started(document)
    shown = oci("exec", identity, "sh", "-c", "ulimit -n; ulimit -Hn", preexec_fn=lower).stdout.split()
    assert shown == ["123", "456"]


def test_a_container_may_be_created_without_a_process_but_not_started(oci):
    document = oci.document()
    del document["process"]
    identity = oci.create(document)
    state = oci.get(identity)
    assert state["status"] == "created"
    done = oci("start", identity, check=False)
    assert done.returncode == 1
    assert "has no process to start" in done.stderr
    assert oci.get(identity) == state
    assert oci("exec", identity, "echo", "inside").stdout == "inside\n"
    oci("delete", "--force", identity)
