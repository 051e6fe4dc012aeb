"""Fixtures that build real things: state directories, engines, projects; each removes what it made."""

import gc
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.images import busybox_archive

# how long one example takes is the machine's business: budgets are in tests/bench. Examples are others with each run, so a
# property meets some thousands in a week; one that needs more of them in a run says so
settings.register_profile("skiff", deadline=None, max_examples=60)
settings.load_profile("skiff")

SKIFF = (sys.executable, "-m", "compose.cli.main")


def pytest_collection_modifyitems(items):
    """Skip, with the reason, what this machine can't run; what takes long comes first, but for one a while after."""
    items.sort(key=lambda item: ("first" not in item.keywords, "later" in item.keywords))
    later = [item for item in items if "later" in item.keywords]
    if later and len(later) < len(items):
        del items[-len(later) :]
        place = len(items) // 8
        # at the border between two files, which are handed to processes whole
        while place < len(items) and items[place].path == items[place - 1].path:
            place += 1
        items[place:place] = later
    if os.getuid() != 0:
        skip = pytest.mark.skip(reason="needs root: run the tests as root")
        for item in items:
            if "root" in item.keywords:
                item.add_marker(skip)


def pytest_collection_finish():
    """Spare the garbage collector what lives to the end of the run: modules and test items, some million objects.

    Searching them again at each full collection takes a fifth of the unit tests' time.
    """
    gc.collect()
    gc.freeze()


@dataclass
class Home:
    """An engine's own root and run directory, and how to run Skiff with them."""

    root: Path
    run: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def host(self):
        return f"unix://{self.run / 'engine.sock'}"

    @property
    def command(self):
        """How Skiff is called."""
        return SKIFF

    @property
    def env(self):
        return {
            **os.environ,
            "SKIFF_ROOT": str(self.root),
            "SKIFF_RUN": str(self.run),
            **self.environment,
        }

    def skiff(self, *arguments, cwd=None, check=True, timeout=300, input=None, env=None):
        """Run one skiff command to its end; a failure shows what it printed."""
        result = subprocess.run(
            [*self.command, *map(str, arguments)],
            cwd=cwd,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            input=input,
        )
        if check and result.returncode:
            raise AssertionError(f"skiff {arguments}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def get(self, path):
        """Return what the engine answers to GET `path`, as JSON; starts the engine when it does not run."""
        self.skiff("engine", "start")
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.run / "engine.sock"))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, body
        return json.loads(body)

    def stop(self):
        """Stop the engine and everything it runs."""
        self.skiff("engine", "stop", "--force", check=False)


@pytest.fixture
def home():
    """An engine home of the test's own, in a short path (a unix socket's path has at most 107 bytes)."""
    base = Path(tempfile.mkdtemp(prefix="skiff-", dir="/tmp"))
    home = Home(base / "root", base / "run")
    yield home
    home.stop()
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def shared_home():
    """An engine home for tests that only add to it."""
    base = Path(tempfile.mkdtemp(prefix="skiff-", dir="/tmp"))
    home = Home(base / "root", base / "run")
    yield home
    home.stop()
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory):
    """A `docker save` archive of busybox:latest."""
    return busybox_archive(tmp_path_factory.mktemp("images") / "busybox.tar")


@pytest.fixture
def busybox(home, busybox_tar):
    """The image busybox:latest in the test's own engine."""
    home.skiff("image", "load", "-i", busybox_tar)
    return "busybox:latest"
