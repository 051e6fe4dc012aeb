"""What a process takes on before it executes: directory, streams, limits, identity, capabilities, filter.

Runs inside the container's root, where everything is the container's: nothing is imported, no file is trusted.
"""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Mapping, Sequence

from runtime.hints import Any, NoReturn
from runtime.linux import capability, userns
from runtime.linux import syscalls as linux
from runtime.oci import user

# <asm-generic/resource.h>; Python's `resource` lacks some
LIMITS = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9, "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip
DEFAULT_LIMITS = {
    "RLIMIT_NOFILE": 1 << 20, "RLIMIT_NPROC": resource.RLIM_INFINITY, "RLIMIT_CORE": resource.RLIM_INFINITY,
}  # fmt: skip
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)
"""What the keeper and its interpreter ignore; handlers end with an execution by themselves (execve(2))."""
LAST_SIGNAL = 64
NOT_FOUND, NOT_EXECUTABLE = 127, 126
INVALID = 22


class StartError(Exception):
    """Why the process could not be started, and the exit code that stands for it."""

    def __init__(self, message: str, exit_code: int = 128) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def reset_signal_handlers() -> None:
    """Give every signal its default action: what whoever started us ignores would be ignored by every container."""
    for number in range(1, LAST_SIGNAL + 1):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            linux.default_signal(number)


class PreExec:
    """What is done between the last preparation of a process and its execution: nothing but installing its filter."""

    def wait(self) -> None:
        """Return once the process may execute: all that can be known before has been found well."""

    def restrict(self, filters: bytes) -> None:
        """Install the compiled seccomp program."""
        linux.install_filter(filters)


def become(
    process: Mapping[str, Any], annotations: Mapping[str, str], filters: bytes | None, last: PreExec | None = None
) -> NoReturn:
    """Take on the directory, limits, identity and restrictions of `process` and execute it. Raises StartError.

    `filters` is a compiled seccomp program; `last` is what else is done late.
    """
    environment = dict(pair.split("=", 1) for pair in process.get("env") or () if "=" in pair)
    who = _identity(process, annotations)
    if not environment.get("HOME"):
        environment["HOME"] = who.home
    directory = process.get("cwd") or "/"
    is_there = _enter(directory, may_fail=bool(who.uid))
    _give_streams(who)
    if process.get("noNewPrivileges"):
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    sets = _capabilities(process, who)
    for number in IGNORED:
        linux.default_signal(number)
    # only now: a signal that init forwarded meanwhile has the action it would have after the execution
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    capability.drop_bounding(capability.mask(sets.get("bounding") or ()))
    _set_limits(process.get("rlimits") or ())
    held = capability.permitted()
    linux.prctl(linux.PR_SET_KEEPCAPS, 1)
    _take_identity(who)
    os.umask((process.get("user") or {}).get("umask", 0o022))
    if last is None:
        last = PreExec()
    else:
        _check_executable(process["args"][0], environment)
        last.wait()
    if filters is not None and not process.get("noNewPrivileges"):
        # as late as it can be: after it a profile needs to allow capset, prctl and execve alone
        capability.hold_for_filter(sets, held)
        last.restrict(filters)
    capability.set_process(sets, held)
    if not is_there:
        _enter(directory, may_fail=False)
    if filters is not None and process.get("noNewPrivileges"):
        last.restrict(filters)
    _execute(process["args"], environment)


def _identity(process: Mapping[str, Any], annotations: Mapping[str, str]) -> user.Identity:
    if "skiff.user" in annotations:
        extra = [group for group in annotations.get("skiff.group_add", "").split(",") if group]
        return user.resolve(annotations["skiff.user"], extra)
    wanted = process["user"]
    groups = tuple(wanted.get("additionalGids") or ())
    return user.Identity(wanted["uid"], wanted["gid"], groups, user.home(wanted["uid"]))


def _take_identity(who: user.Identity) -> None:
    """Become `who`. Raises StartError where the user namespace has no such user."""
    try:
        try:
            os.setgroups(who.groups)
        except PermissionError:  # a namespace of one user, which may drop no groups (user_namespaces(7), setgroups)
            if not userns.has_one_user():
                raise
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
    except OSError as error:
        if error.errno != INVALID:
            raise
        raise StartError(
            f"user {who.uid}, group {who.gid} are none of this engine's user namespace: it needs ranges of them in "
            "/etc/subuid and /etc/subgid (`skiff doctor`)"
        ) from error


def _enter(directory: str, *, may_fail: bool) -> bool:
    """Make `directory` the working directory; with `may_fail`, return False where it takes the user's own rights."""
    try:
        os.chdir(directory)
    except OSError as error:
        if may_fail and isinstance(error, PermissionError):
            return False
        reason = os.strerror(error.errno or 0).lower()
        code = NOT_EXECUTABLE if isinstance(error, PermissionError | NotADirectoryError) else NOT_FOUND
        raise StartError(f'chdir to cwd ("{directory}") set in config.json failed: {reason}', code) from error
    if not linux.working_directory().startswith(b"/"):
        raise StartError(f'chdir to cwd ("{directory}") set in config.json failed: outside of the container')
    return True


def _give_streams(who: user.Identity) -> None:
    """Give the standard streams to the user, who may open them anew by the names of /dev/stdout and its like."""
    for number in range(3):
        about = os.fstat(number)
        if about.st_uid == who.uid or (stat.S_ISCHR(about.st_mode) and not os.isatty(number)):
            continue
        try:
            os.fchown(number, who.uid, -1)
        except OSError:  # a stream of a filesystem that has no owners
            continue


def _capabilities(process: Mapping[str, Any], who: user.Identity) -> Mapping[str, Sequence[str]]:
    """Return the capability sets; to others than root, what is ambient alone (capabilities(7))."""
    sets: Mapping[str, Sequence[str]] = process.get("capabilities") or {}
    ambient = sets.get("ambient") or ()
    return {**sets, "effective": ambient, "permitted": ambient} if who.uid else sets


def _set_limits(wanted: Sequence[Mapping[str, Any]]) -> None:
    """Set the limits of the document, and those that are not to depend on the shell in which the engine was started."""
    named = {limit["type"] for limit in wanted}
    for kind, value in DEFAULT_LIMITS.items():
        if kind not in named:
            try:
                resource.setrlimit(LIMITS[kind], (value, value))
            except (OSError, ValueError):  # without the right to raise limits, as much as can be had
                _, most = resource.getrlimit(LIMITS[kind])
                resource.setrlimit(LIMITS[kind], (most, most))
    for limit in wanted:
        try:
            resource.setrlimit(LIMITS[limit["type"]], (_bound(limit["soft"]), _bound(limit["hard"])))
        except (OSError, ValueError) as error:
            _, most = resource.getrlimit(LIMITS[limit["type"]])
            raise StartError(
                f"{limit['type']} can't be {limit['soft']}:{limit['hard']}: the engine may set at most {most}; ask for "
                "less, or start the engine where the limit is higher (ulimit -H)"
            ) from error


def _bound(value: int) -> int:
    return resource.RLIM_INFINITY if value < 0 or value >= 1 << 63 else value


def _candidates(name: str, environment: Mapping[str, str]) -> list[str]:
    """Return the paths by which `name` may be meant, in their order."""
    if "/" in name:
        return [name]
    return [f"{folder or '.'}/{name}" for folder in environment.get("PATH", DEFAULT_PATH).split(":")]


def _check_executable(name: str, environment: Mapping[str, str]) -> None:
    """Raise StartError where no program is found by `name`: who makes a container is told before it is started."""
    found = [path for path in _candidates(name, environment) if os.path.exists(path)]
    if not found:
        reason = f"stat {name}: no such file or directory" if "/" in name else "executable file not found in $PATH"
        raise StartError(f'exec: "{name}": {reason}', NOT_FOUND)
    if not any(os.path.isfile(path) and os.access(path, os.X_OK, effective_ids=True) for path in found):
        raise StartError(f'exec: "{name}": permission denied', NOT_EXECUTABLE)


def _execute(arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    name = arguments[0]
    refused: OSError | None = None
    for candidate in _candidates(name, environment):
        try:
            os.execve(candidate, list(arguments), environment)
        except (FileNotFoundError, NotADirectoryError) as error:
            if "/" in name:
                raise StartError(f'exec: "{name}": {_reason(error)}', NOT_FOUND) from error
        except OSError as error:
            refused = error
    if refused is not None:
        raise StartError(f'exec: "{name}": {_reason(refused)}', NOT_EXECUTABLE) from refused
    raise StartError(f'exec: "{name}": executable file not found in $PATH', NOT_FOUND)


def _reason(error: OSError) -> str:
    return (
        f"stat {error.filename}: {os.strerror(error.errno or 0).lower()}"
        if error.errno == 2
        else os.strerror(error.errno or 0).lower()
    )
