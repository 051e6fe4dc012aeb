"""The last steps before execve(2): directory, streams, rlimits, identity, capabilities, seccomp filter.

Runs inside the container's root, whose files are not trusted: nothing may be imported.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Mapping, Sequence

from runtime.hints import TYPE_CHECKING, NoReturn
from runtime.linux import capability, userns
from runtime.linux import syscalls as linux
from runtime.oci import user

if TYPE_CHECKING:
    from runtime.oci.types import OciProcess, OciRlimit

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
"""Signals that the keeper and its interpreter ignore. execve(2) resets handlers, but not ignored signals."""
LAST_SIGNAL = 64
NOT_FOUND, NOT_EXECUTABLE = 127, 126


class StartError(Exception):
    """The process could not be started; `exit_code` is what the engine reports for it (126, 127 or 128).

    `hint`, if not empty, says what to do next; `str()` has both.
    """

    def __init__(self, message: str, exit_code: int = 128, hint: str = "") -> None:
        super().__init__(f"{message}: {hint}" if hint else message)
        self.message = message
        self.exit_code = exit_code
        self.hint = hint


def reset_signal_handlers() -> None:
    """Reset every signal to its default action: ignored signals survive execve(2), also into containers."""
    for number in range(1, LAST_SIGNAL + 1):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            linux.default_signal(number)


class PreExec:
    """What differs between callers of `become`; here, for the engine, limits and the filter alone."""

    default_limits: Mapping[str, int] = DEFAULT_LIMITS
    """Soft and hard values of the limits that the document does not name; others are inherited."""

    def wait(self) -> None:
        """Block until the process may execute (`runc create` until `start`)."""

    def restrict(self, filters: bytes) -> None:
        """Install the compiled seccomp program."""
        linux.install_filter(filters)


def become(
    process: OciProcess, annotations: Mapping[str, str], filters: bytes | None, last: PreExec | None = None
) -> NoReturn:
    """Apply the directory, rlimits, identity and restrictions of `process` and call execve(2). Raises StartError.

    `filters` is a compiled seccomp program. With `last`, the executable is checked before `last.wait()`.
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
    # not earlier: from here on a pending signal has the action that it would have after execve(2)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    capability.drop_bounding(capability.mask(sets.get("bounding") or ()))
    _set_limits(process.get("rlimits") or (), PreExec.default_limits if last is None else last.default_limits)
    held = capability.permitted()
    linux.prctl(linux.PR_SET_KEEPCAPS, 1)
    _take_identity(who)
    os.umask((process.get("user") or {}).get("umask", 0o022))
    if last is None:
        last = PreExec()
    else:
        if process["args"]:
            _check_executable(process["args"][0], environment)
        last.wait()
    if filters is not None and not process.get("noNewPrivileges"):
        # as late as possible: after it, a profile must allow only capset, prctl and execve
        capability.hold_for_filter(sets, held)
        last.restrict(filters)
    capability.set_process(sets, held)
    if not is_there:
        _enter(directory, may_fail=False)
    if filters is not None and process.get("noNewPrivileges"):
        last.restrict(filters)
    _execute(process["args"], environment)


def _identity(process: OciProcess, annotations: Mapping[str, str]) -> user.Identity:
    if "skiff.user" in annotations:
        extra = [group for group in annotations.get("skiff.group_add", "").split(",") if group]
        return user.resolve(annotations["skiff.user"], extra)
    wanted = process["user"]
    groups = tuple(wanted.get("additionalGids") or ())
    return user.Identity(wanted["uid"], wanted["gid"], groups, user.home(wanted["uid"]))


def _take_identity(who: user.Identity) -> None:
    """Set groups, GID and UID. Raises StartError if they are not mapped in the user namespace."""
    try:
        try:
            os.setgroups(who.groups)
        except PermissionError:  # setgroups is denied in a namespace that maps one user (user_namespaces(7))
            if not userns.has_one_user():
                raise
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise StartError(
            f"user {who.uid}, group {who.gid} are not in this engine's user namespace",
            hint="add ranges that contain them to /etc/subuid and /etc/subgid (`skiff doctor`)",
        ) from error


def _enter(directory: str, *, may_fail: bool) -> bool:
    """Change to `directory`. With `may_fail`, return False on EACCES: it may work later, as the user."""
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
    """Make the user the owner of the standard streams, so that it can open /dev/stdout and the like."""
    for number in range(3):
        about = os.fstat(number)
        if about.st_uid == who.uid or (stat.S_ISCHR(about.st_mode) and not os.isatty(number)):
            continue
        try:
            os.fchown(number, who.uid, -1)
        except OSError:  # a filesystem without owners
            continue


def _capabilities(process: OciProcess, who: user.Identity) -> Mapping[str, Sequence[str]]:
    """Return the capability sets; for users other than root only ambient ones are effective (capabilities(7))."""
    sets: Mapping[str, Sequence[str]] = process.get("capabilities") or {}
    ambient = sets.get("ambient") or ()
    return {**sets, "effective": ambient, "permitted": ambient} if who.uid else sets


def _set_limits(wanted: Sequence[OciRlimit], defaults: Mapping[str, int]) -> None:
    """Set the rlimits of the document, and `defaults` for those that would depend on how the engine was started."""
    named = {limit["type"] for limit in wanted}
    for kind, value in defaults.items():
        if kind not in named:
            try:
                resource.setrlimit(LIMITS[kind], (value, value))
            except (OSError, ValueError):  # without CAP_SYS_RESOURCE: the hard limit
                _, most = resource.getrlimit(LIMITS[kind])
                resource.setrlimit(LIMITS[kind], (most, most))
    for limit in wanted:
        try:
            resource.setrlimit(LIMITS[limit["type"]], (_bound(limit["soft"]), _bound(limit["hard"])))
        except (OSError, ValueError) as error:
            _, most = resource.getrlimit(LIMITS[limit["type"]])
            raise StartError(
                "error setting rlimits for ready process: error setting rlimit type "
                f"{LIMITS[limit['type']]}: {os.strerror(errno.EPERM).lower()}",
                hint=f"{limit['type']} can't be {limit['soft']}:{limit['hard']}: the engine may set at most {most}; ask "
                "for less, or start the engine where the limit is higher (ulimit -H)",
            ) from error


def _bound(value: int) -> int:
    return resource.RLIM_INFINITY if value < 0 or value >= 1 << 63 else value


def _candidates(name: str, environment: Mapping[str, str]) -> list[str]:
    """Return the paths at which execvp would look for `name`, in order."""
    if "/" in name:
        return [name]
    folders = environment.get("PATH", DEFAULT_PATH).split(":") if name else ()
    return [f"{folder or '.'}/{name}" for folder in folders]


def _check_executable(name: str, environment: Mapping[str, str]) -> None:
    """Raise StartError if there is no executable `name`, so that `create` fails instead of `start`."""
    found = [path for path in _candidates(name, environment) if os.path.exists(path) and _may_run(name, path)]
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
            if _may_run(name, candidate):
                refused = error
    if refused is not None:
        raise StartError(f'exec: "{name}": {_reason(refused)}', NOT_EXECUTABLE) from refused
    raise StartError(f'exec: "{name}": executable file not found in $PATH', NOT_FOUND)


def _may_run(name: str, path: str) -> bool:
    """Whether `path`, at which `name` was looked for, is no directory. Raises StartError if `name` is a path itself."""
    if not os.path.isdir(path):
        return True
    if "/" in name:
        raise StartError(f'exec: "{name}": is a directory: permission denied', NOT_EXECUTABLE)
    return False


def _reason(error: OSError) -> str:
    reason = os.strerror(error.errno or 0).lower()
    return f"stat {error.filename}: {reason}" if error.errno in (errno.ENOENT, errno.ENOTDIR) else reason
