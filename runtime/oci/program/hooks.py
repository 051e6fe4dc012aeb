"""Hooks: programs that run at points of the container's lifecycle (OCI runtime spec, "POSIX-platform Hooks")."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Iterator, Mapping, Sequence

from runtime.hints import TYPE_CHECKING, Any
from runtime.oci.program.errors import ProgramError

if TYPE_CHECKING:
    from runtime.oci.types import OciHook

LONGEST_SAID = 4096


class HookError(ProgramError):
    """A hook could not be run, failed, or timed out."""


BUNDLE = "bundle"


def run(kind: str, hooks: Sequence[OciHook], state: Mapping[str, Any], *, directory: str | None = BUNDLE) -> None:
    """Run `hooks` in order, each with `state` as JSON on standard input. Raises HookError if one fails.

    `directory` is the name of the state's property with their working directory, None for the caller's.
    """
    if hooks:
        with _in_directory(state[directory] if directory else "."):
            for number, hook in enumerate(hooks):
                _run_one(f"{kind} hook #{number} ({hook['path']})", hook, json.dumps(state).encode())


@contextlib.contextmanager
def _in_directory(path: str) -> Iterator[None]:
    """Change to `path` for the block: posix_spawn(3) has no working directory. One that is gone changes nothing."""
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.chdir(path)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _run_one(name: str, hook: OciHook, state: bytes) -> None:
    # memory files instead of pipes: a hook that does not read, or leaves a process behind that writes, can't block us
    stdin, said = os.memfd_create("state"), os.memfd_create("said")
    try:
        os.write(stdin, state)
        os.lseek(stdin, 0, os.SEEK_SET)
        environment = os.environ
        if hook.get("env") is not None:
            environment = dict(pair.split("=", 1) for pair in hook["env"] if "=" in pair)  # type: ignore[assignment]
        try:
            pid = os.posix_spawn(
                hook["path"],
                hook.get("args") or [hook["path"]],
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)],
                setsigmask=(),
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )  # fmt: skip
        except OSError as error:
            raise HookError(f"{name} can't be run: {(error.strerror or str(error)).lower()}") from error
        status = _wait(pid, hook.get("timeout"))
        output = os.pread(said, LONGEST_SAID, 0).decode("utf-8", "replace").strip()
    finally:
        os.close(stdin)
        os.close(said)
    if status is None:
        raise HookError(f"{name} did not exit within {hook['timeout']} s", output or None)
    if status:
        how = f"exit status {os.WEXITSTATUS(status)}" if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"
        raise HookError(f"{name} failed: {how}", output or None)


def _wait(pid: int, timeout_s: int | None) -> int | None:
    """Return the wait status of the child `pid`; None if it was killed after `timeout_s`."""
    if timeout_s is None:
        return os.waitpid(pid, 0)[1]
    descriptor = os.pidfd_open(pid)
    try:
        if select.select([descriptor], (), (), timeout_s)[0]:
            return os.waitpid(pid, 0)[1]
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None
    finally:
        os.close(descriptor)
