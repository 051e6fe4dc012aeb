"""What a user's engine has to do without, and what is left of it: nothing."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.machine import look_at_everything
from tests.support.networks import second_machine
from tests.support.project import Project, eventually
from tests.support.unprivileged import UserHome, served

pytestmark = [pytest.mark.root, pytest.mark.unprivileged]

SLEEPER = "services:\n  one: {image: busybox, command: sleep infinity, init: true, ports: ['127.0.0.1:0:80']}\n"

CLOSED = """
import os, sys
from runtime.linux import syscalls as linux
ids = {"uid_map": os.getuid(), "gid_map": os.getgid()}
linux.call("unshare", linux.CLONE_NEWUSER)
open("/proc/self/setgroups", "w").write("deny")
for file, id in ids.items():
    open(f"/proc/self/{file}", "w").write(f"{id} {id} 1")
open("/proc/sys/user/max_user_namespaces", "w").write("0")
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Executes a command in a user namespace in which there may be no other: the limit of the machine's stays."""


def examine(home, *before):
    """Run the doctor as the user; return its exit code and its findings by subject."""
    command = [*home.as_user, *before, sys.executable, "-m", "runtime.doctor", "--json"]
    done = subprocess.run(command, env=home.env, cwd="/", capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return done.returncode, {finding["subject"]: finding for finding in json.loads(done.stdout)}


@contextmanager
def http_server(address, folder):
    """Serve the files of a folder; gives the port."""
    server = ThreadingHTTPServer((address, 0), partial(SimpleHTTPRequestHandler, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_user_without_subordinate_ids_runs_containers_of_root_alone(lone_user, busybox_tar):
    home = UserHome(lone_user)
    said = home.skiff("engine", "start").stderr
    assert f"/etc/subuid and /etc/subgid give {lone_user.name} no range" in said
    assert f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {lone_user.name}" in said
    assert home.skiff("engine", "start").stderr == ""
    with served(home, busybox_tar):
        project = Project.of(
            home,
            home.folder("lone"),
            "name: lone\nservices:\n"
            "  one: {build: ., image: lone, command: sh -c 'stat -c %u /home/app /made; id -u'}\n"
            "  other: {image: busybox, user: app, command: id}\n",
            Dockerfile="FROM busybox\nRUN touch /made\nCOPY --chown=app Dockerfile /home/app/\n",
        )
        assert project.skiff("run", "--rm", "-T", "--build", "one").stdout.split()[-3:] == ["0", "0", "0"]
        refused = project.skiff("run", "--rm", "-T", "other", check=False)
        assert refused.returncode
        assert "user 1000, group 1000 are not in this engine's user namespace" in refused.stderr
        project.skiff("down", "--rmi", "all", "-t", "0")


def test_nothing_is_left_of_an_engine_that_is_stopped(user, user_home, tmp_path):
    user_home.stop()
    eventually(lambda: not user.processes(), what="the end of the user's processes")
    before = look_at_everything(tmp_path)
    project = Project.of(user_home, user_home.folder("left"), f"name: left\n{SLEEPER}")
    project.skiff("up", "-d")
    assert user.processes()
    project.skiff("down", "-t", "0")
    user_home.stop()
    eventually(lambda: not user.processes(), what="the end of the user's processes")
    left = look_at_everything(tmp_path).since(before).get("mounts") or ()
    assert [point for point in left if str(user.home) in point] == []
    assert {file.name for file in user_home.run.iterdir()} <= {
        "engine.log", "keeper.sock.lock", "doorman.sock.lock", "locks", "netns", "bundles", "bridges.net", "endpoints",
    }  # fmt: skip
    assert [file for file in Path("/tmp").iterdir() if user.owns(file)] == []


def test_the_run_directory_is_the_session_s_where_there_is_one(user, busybox_tar):
    session = user.home / "session"
    session.mkdir(mode=0o700)
    os.chown(session, user.uid, user.gid)
    home = UserHome(user, XDG_RUNTIME_DIR=str(session), XDG_DATA_HOME=str(user.home / "data"))
    home.root = user.home / "data" / "skiff"
    with served(home, busybox_tar):
        assert (session / "skiff" / "engine.sock").exists()
        assert home.get("/info")["DockerRootDir"] == str(home.root)


INHERITING = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "SKIFF_IDLE_S": "0.5"}
print("listening", flush=True)
os.execv(sys.executable, [sys.executable, "-m", "runtime.daemon"])
"""


def test_a_socket_that_was_inherited_is_served_and_left_to_who_made_it(user, user_home):
    user_home.stop()
    eventually(lambda: not user.processes(), what="the end of the user's processes")
    path = user_home.run / "engine.sock"
    command = [*user_home.as_user, sys.executable, "-c", INHERITING, path]
    with subprocess.Popen(command, env=user_home.env, cwd="/", stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "listening\n"
        inode = path.stat().st_ino
        assert "name=rootless" in user_home.get("/info")["SecurityOptions"]
        assert process.wait(30) == 0
    eventually(lambda: not user.processes(), what="the end of the user's processes")
    assert path.stat().st_ino == inode
    path.unlink()


def test_two_commands_at_once_start_one_engine(user, user_home):
    user_home.stop()
    eventually(lambda: not user.processes(), what="the end of the user's processes")
    commands = [
        subprocess.Popen([*user_home.command, "engine", "start"], env=user_home.env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [json.loads(command.communicate(timeout=60)[0]) for command in commands]
    assert len({one["engine_pid"] for one in told}) == 1


def test_containers_reach_what_is_outside_where_pasta_is(user, user_home, way_out, tmp_path):
    user_home.stop()
    eventually(lambda: not user.processes(), what="the end of the user's processes")
    project = Project.of(user_home, user_home.folder("out"), "name: out\nservices: {one: {image: busybox}}\n")
    page = tmp_path / "page"
    page.write_bytes(b"outside" * 40_000)
    with second_machine() as machine, http_server("198.51.100.1", tmp_path) as port:
        user_home.machine = ("nsenter", f"--net={machine}")
        try:
            ask = f"wget -q -O - http://198.51.100.1:{port}/page | sha256sum"
            shown = project.skiff("run", "--rm", "-T", "one", "sh", "-c", ask, timeout=60)
            project.skiff("down", "-t", "0")
            assert "passt" in "".join(user.processes())
        finally:
            user_home.stop()
            user_home.machine = ()
        eventually(lambda: not user.processes(), what="the end of pasta")
    assert shown.stdout.split()[0] == hashlib.sha256(page.read_bytes()).hexdigest()


def test_without_pasta_that_is_reported_once(user, user_home):
    user_home.stop()
    eventually(lambda: not user.processes(), what="the end of the user's processes")
    programs = user_home.folder("programs")
    for name in ("sh", "mkdir", "mount", "umount", "unshare", "setpriv", "newuidmap", "newgidmap"):
        (programs / name).symlink_to(shutil.which(name))
    (user_home.root / "told").unlink()
    user_home.environment["PATH"] = str(programs)
    try:
        said = user_home.skiff("engine", "start").stderr
        assert "containers can reach each other, but not the outside (pasta is not installed)" in said
        assert "`apt-get install passt`" in said
        user_home.stop()
        assert user_home.skiff("engine", "start").stderr == "", "it was said before"
        user_home.stop()
    finally:
        del user_home.environment["PATH"]


def test_the_doctor_finds_what_a_user_s_engine_takes(user_home):
    code, found = examine(user_home)
    tried = {subject for subject, finding in found.items() if "(tried)" in finding["detail"]}
    assert tried == {"user namespace", "namespaces", "overlayfs", "seccomp", "interfaces", "nftables"}
    assert found["user ranges"]["detail"] == "65537 users, 65537 groups"
    assert found["low ports"]["cure"].startswith("`sysctl -w net.ipv4.ip_unprivileged_port_start=0`")
    assert code == 0


def test_the_doctor_names_the_cure_for_a_user_without_subordinate_ids(lone_user):
    code, found = examine(UserHome(lone_user))
    assert found["user ranges"]["state"] == "limited"
    assert (
        f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {lone_user.name}"
        in found["user ranges"]["cure"]
    )
    assert code == 0


def test_the_doctor_names_the_setting_that_refuses_user_namespaces(user_home):
    code, found = examine(user_home, sys.executable, "-c", CLOSED)
    assert found["user namespace"]["state"] == "missing"
    assert "user.max_user_namespaces=15000" in found["user namespace"]["cure"]
    assert code == 1
