"""A skiff command that goes on while a test does something: its output is read as it comes."""

import os
import select
import signal
import subprocess
import time
from contextlib import contextmanager

from tests.conftest import SKIFF


class Foreground:
    """Runs one command of a project; both its outputs are read together."""

    def __init__(self, project, *arguments, **environment):
        self.process = subprocess.Popen(
            [*SKIFF, *arguments],
            cwd=project.folder,
            env={**project.home.env, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # as a shell on a terminal has it, also where these tests run in the background of a script
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.said = ""

    def until(self, text, count=1, within_s=30.0):
        """Read output until `text` was written `count` times since the beginning."""
        deadline = time.monotonic() + within_s
        while self.said.count(text) < count:
            assert select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0], self.said
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, f"ended before {text!r}:\n{self.said}"
            self.said += data.decode()
        return self

    def interrupt(self):
        """Press Ctrl-C; return the exit code once all output was read."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self):
        """Wait for the end; return the exit code."""
        self.said += self.process.communicate(timeout=60)[0].decode()
        return self.process.returncode

    def kill(self):
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Apart:
    """Runs one command of a project; its outputs are text, read apart."""

    def __init__(self, project, *arguments):
        self.process = subprocess.Popen(
            [*SKIFF, *arguments],
            cwd=project.folder,
            env=project.home.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@contextmanager
def none_outlives(kind):
    """Give a function that starts commands of a `kind`; at the end, those that still run are killed."""
    made = []

    def start(project, *arguments):
        made.append(kind(project, *arguments))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
