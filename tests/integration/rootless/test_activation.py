"""A user's engine whose socket is somebody else's, as that of the user's systemd."""

import os
import socket
import subprocess
import sys

import pytest

from tests.support.project import Project, kill_and_wait

pytestmark = [pytest.mark.root, pytest.mark.unprivileged]

STACK = """
name: held
services:
  web: {image: busybox, command: sleep infinity, init: true}
"""
START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "runtime.daemon"])
"""


def test_engines_come_and_go_with_who_has_the_socket_and_containers_run_on(user, user_home):
    project = Project.of(user_home, user_home.folder("held"), STACK)
    project.name = "held"
    project.skiff("up", "-d")
    pid = project.inspect("web")["State"]["Pid"]
    path, notify = user_home.run / "engine.sock", user_home.run / "notify"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        for one, name in ((listener, path), (told, notify)):
            one.bind(str(name))
            os.chown(name, user.uid, user.gid)
        listener.listen()
        told.settimeout(60)

        def start():
            process = subprocess.Popen(
                [*user_home.as_user, sys.executable, "-c", START, str(listener.fileno())],
                env={**user_home.env, "NOTIFY_SOCKET": str(notify)},
                pass_fds=[listener.fileno()],
                cwd="/",
            )
            assert told.recv(100) == b"READY=1"
            return process

        process = start()  # the engine that ran by hand goes, and with it the process that had started it
        assert project.inspect("web")["State"]["Pid"] == pid
        process.terminate()
        assert process.wait(30) == 0
        assert os.path.exists(f"/proc/{pid}")
        process = start()
        found = user_home.get("/skiff/v1/engine")
        assert project.inspect("web")["State"]["Pid"] == pid
        kill_and_wait(found["engine_pid"])
        assert process.wait(30) != 0  # so that its service manager starts the next one
        process = start()
        assert project.inspect("web")["State"]["Pid"] == pid
        user_home.stop()
        assert process.wait(30) == 0
        notify.unlink()
    path.unlink()
    project.skiff("down", "-t", "0")
