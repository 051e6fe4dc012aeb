"""A Compose project of a test: its folder, its engine's home, and questions about its containers."""

import json
import os
import select
import subprocess
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import Home


@dataclass
class Project:
    """A folder with a compose.yaml, and the commands run in it."""

    home: Home
    folder: Path
    name: str = ""

    @classmethod
    def of(cls, home, folder, text, **files):
        """Write `text` as compose.yaml and each of `files` into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "compose.yaml").write_text(textwrap.dedent(text))
        for name, content in files.items():
            (folder / name).write_text(content)
        return cls(home, folder)

    def skiff(self, *arguments, **options):
        return self.home.skiff(*arguments, cwd=self.folder, **options)

    def write(self, text):
        """Change compose.yaml; the project keeps its name."""
        (self.folder / "compose.yaml").write_text(f"name: {self.name}\n" + textwrap.dedent(text))

    def refused(self, *arguments, code=1, **options):
        """Run a skiff command that must fail with `code` and without a bug's words; return what it says."""
        done = self.skiff(*arguments, check=False, **options)
        said = done.stdout + done.stderr
        assert done.returncode == code, (done.returncode, said)
        assert "Traceback" not in said, said
        assert "internal error" not in said, said
        return done.stderr

    def states(self):
        """The states of the project's containers by name."""
        return {c["Name"]: c["State"] for found in self.containers().values() for c in found}

    def spawn(self, *arguments, **options):
        """Start a skiff command and return its process."""
        return subprocess.Popen(
            [*self.home.command, *arguments],
            cwd=self.folder,
            env=self.home.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )

    def containers(self):
        """All containers of the project as `ps` shows them, by service."""
        lines = self.skiff("ps", "-a", "--format", "json").stdout.splitlines()
        found = {}
        for line in lines:
            container = json.loads(line)
            found.setdefault(container["Service"], []).append(container)
        return found

    def inspect(self, service):
        """The Docker Engine API's view of the first container of `service`."""
        return self.home.get(f"/containers/{self.containers()[service][0]['ID']}/json")


def pid_of(home, what):
    """The process ID of the `engine` or the `keeper` of `home`."""
    return int(home.get("/skiff/v1/engine")[f"{what}_pid"])


def kill_and_wait(pid, signum=9):
    """Send `signum` to `pid` and wait for its end by an event, not by looking again and again."""
    descriptor = os.pidfd_open(pid)
    try:
        os.kill(pid, signum)
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        assert poller.poll(20_000), f"process {pid} outlived signal {signum}"
    finally:
        os.close(descriptor)


def eventually(holds, within_s=20.0, what="the condition"):
    """Ask until `holds()` is true; for state of foreign processes that offers no event."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come about within {within_s} s"
        time.sleep(0.02)
