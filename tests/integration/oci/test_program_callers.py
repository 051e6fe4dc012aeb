"""`skiff oci` under conmon, the monitor that Podman and CRI-O put between themselves and an OCI runtime."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import wait

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("conmon") is None, reason="needs Debian's conmon"),
]
ENTRY = Path(__file__).parents[3] / "runtime/oci/program/__main__.py"


class Conmon:
    """Containers and processes made through conmon."""

    def __init__(self, oci, folder):
        self.oci, self.folder = oci, folder
        self.runtime = folder / "runtime"
        self.runtime.write_text(f'#!/bin/sh\nexec {sys.executable} {ENTRY} "$@"\n')
        self.runtime.chmod(0o755)
        (folder / "exits").mkdir()

    def __call__(self, identity, *more, bundle):
        """Have conmon make a container or a process; returns what it reports to its caller, the PID first."""
        reading, writing = os.pipe()
        words = [
            "conmon", "--api-version", "1", "-c", identity, "-u", identity, "-n", identity, "-r", self.runtime,
            "--runtime-arg", "--root", "--runtime-arg", self.oci.state, "-b", bundle, "-p", self.folder / "pid",
            "-l", f"k8s-file:{self.folder / 'log'}", "--exit-dir", self.folder / "exits", "--socket-dir-path", self.folder, *more,
        ]  # fmt: skip
        with subprocess.Popen(
            list(map(str, words)), pass_fds=[writing], env={**os.environ, "_OCI_SYNCPIPE": str(writing)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as conmon:  # fmt: skip
            os.close(writing)
            with open(reading) as told:
                answer = told.readline()
            assert answer, conmon.stderr.read()
            return json.loads(answer)

    @property
    def lines(self):
        """What the container wrote, a line each with its stream."""
        return [tuple(line.split(" ", 3)[1::2]) for line in (self.folder / "log").read_text().splitlines()]

    def exit_code(self, identity):
        """Return the exit code that conmon noted."""
        return int((self.folder / "exits" / identity).read_text())


@pytest.fixture
def conmon(oci, tmp_path):
    return Conmon(oci, tmp_path)


def test_conmon_makes_logs_and_reaps_a_container(oci, conmon):
    folder, identity = oci.bundle(oci.document("sh", "-c", "echo out; echo err >&2; exit 3"))
    told = conmon(identity, "--conmon-pidfile", conmon.folder / "conmon", bundle=folder)
    state = oci.get(identity)
    assert (state["status"], state["pid"]) == ("created", told["data"])
    monitor = os.pidfd_open(int((conmon.folder / "conmon").read_text()))
    oci("start", identity)
    wait(monitor)
    assert sorted(conmon.lines) == [("stderr", "err"), ("stdout", "out")]
    assert conmon.exit_code(identity) == 3
    oci("delete", identity)


def test_conmon_is_informed_why_a_container_can_not_be_made(oci, conmon):
    folder, identity = oci.bundle(oci.document("nothing-of-that-name"))
    told = conmon(identity, bundle=folder)
    assert told["data"] == -1
    assert "executable file not found in $PATH" in told["message"]


def test_conmon_gets_the_terminal(oci, conmon):
    document = oci.document("sh", "-c", "tty; read word; echo got $word")
    document["process"]["terminal"] = True
    folder, identity = oci.bundle(document)
    conmon(identity, "--terminal", "--conmon-pidfile", conmon.folder / "conmon", bundle=folder)
    monitor = os.pidfd_open(int((conmon.folder / "conmon").read_text()))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as attached:
        attached.connect(str(conmon.folder / identity / "attach"))
        oci("start", identity)
        attached.send(b"hello\n")
        wait(monitor)
    assert [line for _, line in conmon.lines if "pts" in line or "got" in line] == ["/dev/pts/0", "got hello"]
    oci("delete", identity)


def test_conmon_runs_further_processes(oci, conmon):
    identity = oci.started(oci.document("sleep", "1000"))
    process = {**oci.document("sh", "-c", "echo inside; exit 5")["process"]}
    (conmon.folder / "process.json").write_text(json.dumps(process))
    conmon(
        identity, "--exec", "--exec-process-spec", conmon.folder / "process.json", "--conmon-pidfile",
        conmon.folder / "conmon", bundle=oci.folder / identity,
    )  # fmt: skip
    with contextlib.suppress(ProcessLookupError):  # it may have gone already
        wait(os.pidfd_open(int((conmon.folder / "conmon").read_text())))
    assert conmon.lines == [("stdout", "inside")]
    assert conmon.exit_code(identity) == 5
