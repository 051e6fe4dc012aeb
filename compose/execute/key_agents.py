"""Keys that a build names by their files: an SSH agent of their own, which ends with the build."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from runtime.errors import SkiffError


@contextmanager
def key_agent(keys: Path) -> Iterator[str]:
    """Start an agent that holds the keys of a file, and yield its socket. Raises SkiffError for what is no key."""
    if not (shutil.which("ssh-agent") and shutil.which("ssh-add")):
        raise SkiffError(f"{keys} needs ssh-agent and ssh-add, and they are not installed", "install openssh-client")
    try:
        content = keys.read_bytes()
    except OSError as error:
        raise SkiffError(f"{keys}: {error.strerror}", "correct the path, or who may read it") from error
    with tempfile.TemporaryDirectory(prefix="skiff-agent-") as folder:
        socket = os.path.join(folder, "agent")
        with _started(socket):
            _add(socket, keys, content)
            yield socket


def _started(socket: str) -> AbstractContextManager[None]:
    # Without -D it returns when it listens, so there is nothing to wait for.
    done = subprocess.run(["ssh-agent", "-s", "-a", socket], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    found = re.search(r"SSH_AGENT_PID=(\d+)", done.stdout)
    if done.returncode or not found:
        raise SkiffError(f"ssh-agent does not start: {done.stderr.strip()}", "start one yourself: `eval $(ssh-agent)`")
    return _ending(int(found[1]))


@contextmanager
def _ending(agent: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.kill(agent, signal.SIGTERM)


def _add(socket: str, keys: Path, content: bytes) -> None:
    environment = {**os.environ, "SSH_AUTH_SOCK": socket, "SSH_ASKPASS_REQUIRE": "never"}
    # Over a pipe the modes of the file don't count, and no passphrase can be asked for.
    done = subprocess.run(
        ["ssh-add", "-q", "-"], input=content, env=environment, capture_output=True, start_new_session=True
    )
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().replace("(stdin)", str(keys))
        raise SkiffError(
            f"{keys} is not a key without a passphrase: {why}", "add it to an agent (`ssh-add`), and name that"
        )
