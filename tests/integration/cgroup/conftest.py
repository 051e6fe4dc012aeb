"""An engine whose containers are looked at from the host: what the kernel was set to, what the processes may do.

The tests here hold on either cgroup version. `make test` runs them on this machine, and once more in a virtual machine
with version 2 alone.
"""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.client.blocking import Client
from runtime.client.endpoint import EngineAddress
from runtime.client.start import ensure_engine
from runtime.oci.cgroup import Cgroups
from runtime.oci.cgroup_usage import measure
from runtime.paths import Paths
from tests.conftest import Home


@dataclass
class Ground:
    """The engine, and its containers of one test."""

    home: Home
    client: Client
    engine_id: str
    made: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def create(self, command, *, tty=False, network="none", **host):
        """Create a busybox container that runs `command` (a shell's line), with this HostConfig; return its ID."""
        body = {"Image": "busybox", "Cmd": ["sh", "-c", command], "HostConfig": {"NetworkMode": network, **host}}
        answer = self.client.create_container(body)
        self.made.append(answer["Id"])
        self.warnings = answer["Warnings"]
        return answer["Id"]

    def start(self, command="exec sleep 1000", **host):
        """Create a container and start it; return its ID."""
        id = self.create(command, **host)
        self.client.start(id)
        return id

    def run(self, command, **host):
        """Run a container to its end; return its exit code and what it printed."""
        id = self.start(command, **host)
        return self.client.wait(id), self.output(id)

    def output(self, id):
        with self.client.logs(id) as stream:
            return b"".join(data for _, data in stream.frames()).decode()

    def execute(self, id, command):
        """Run a shell's line in a running container; return its exit code and what it printed."""
        exec_id = self.client.exec_create(
            id, {"Cmd": ["sh", "-c", command], "AttachStdout": True, "AttachStderr": True}
        )
        with self.client.exec_start(exec_id) as stream:
            said = b"".join(data for _, data in stream.frames()).decode()
        return self.client.exec_inspect(exec_id)["ExitCode"], said

    def path(self, id):
        return f"/skiff-{self.engine_id}/{id}"

    def settings(self, id, *files):
        """What the cgroup files named hold, each by its name; version 1's are in the hierarchy of their controller."""
        found = {}
        for controller, directory in Cgroups().directories(self.path(id)).items():
            for file in files:
                if controller == "unified" or file.split(".")[0] == controller:
                    found[file] = " ".join(Path(directory, file).read_text().split())
        return found

    def numbers(self, id):
        return measure(Cgroups(), self.path(id))

    def statistics(self, id):
        with self.client.stream("GET", f"/containers/{id}/stats", {"stream": 0}) as stream:
            return next(stream.documents())

    def processes(self, id):
        return Cgroups().processes(self.path(id))

    def directories(self, id):
        """The container's cgroup directories that there are."""
        return [path for path in Cgroups().directories(self.path(id)).values() if os.path.isdir(path)]


@pytest.fixture(scope="session")
def is_unified():
    """Whether this machine has cgroup version 2 alone."""
    return Cgroups().is_unified


@pytest.fixture(scope="session")
def engine(shared_home, busybox_tar):
    """A running engine that has the image busybox."""
    ensure_engine(Paths(shared_home.root, shared_home.run))
    client = Client(EngineAddress(path=str(shared_home.run / "engine.sock")), starts=False)
    for _ in client.load([busybox_tar.read_bytes()]):
        pass
    return Ground(shared_home, client, client.info()["ID"])


@pytest.fixture
def ground(engine):
    """The engine, for one test, whose containers go afterwards."""
    # it goes when it has had nothing to do for a while, as it has while the virtual machine's test runs
    ensure_engine(Paths(engine.home.root, engine.home.run))
    engine.made, engine.warnings = [], []
    yield engine
    for id in engine.made:
        engine.client.remove(id, force=True)


@pytest.fixture(scope="session")
def disk(tmp_path_factory):
    """A disk that nobody else uses, as (path, major number, minor number): a loop device of a file."""
    file = tmp_path_factory.mktemp("disk") / "content"
    file.write_bytes(bytes(1 << 20))
    path = subprocess.run(
        ["losetup", "--find", "--show", file], check=True, capture_output=True, text=True
    ).stdout.strip()
    number = os.stat(path).st_rdev
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    # it goes with its last opener: also when this process is killed
    subprocess.run(["losetup", "--detach", path], check=True)
    yield path, os.major(number), os.minor(number)
    os.close(opened)
