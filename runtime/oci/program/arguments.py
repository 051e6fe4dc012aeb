"""The command line: that of runc and crun, so that their callers (containerd, podman) can call this. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from runtime.hints import NoReturn
from runtime.oci.program.errors import ProgramError

Parser = argparse.ArgumentParser


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        raise ProgramError(f"{self.prog}: {message}", f"`{self.prog} --help` shows the options")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; `command` is the command's name. Raises ProgramError on a wrong command line.

    Only the parser of that command is built.
    """
    top = _globals()
    found = top.parse_args(arguments)
    if found.command in (None, "help"):
        return found
    if found.command not in COMMANDS:
        raise ProgramError(f"unknown command {found.command!r}", f"the commands are {', '.join(COMMANDS)}")
    summary, fill = COMMANDS[found.command]
    parser = _Parser(prog=f"skiff oci {found.command}", description=summary, allow_abbrev=False)
    fill(parser)
    words: list[str] = []
    for word in found.rest:
        # crun's manual writes `--regex=REGEX`, its program takes the expression in place of the ID
        words += ["--regex", word.partition("=")[2]] if word.startswith("--regex=") else [word]
    return parser.parse_args(words if found.command in ("kill", "delete") else found.rest, found)


def help_text() -> str:
    """Return what `skiff oci --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name.ljust(width)}  {summary}" for name, (summary, _) in COMMANDS.items())
    return f"{_globals().format_help()}\ncommands:\n{commands}\n"


def _globals() -> Parser:
    top = _Parser(
        prog="skiff oci", usage="skiff oci [options] COMMAND ...", allow_abbrev=False, add_help=False,
        description="An OCI runtime: containers from bundles, with the command line of runc and crun.",
    )  # fmt: skip
    top.add_argument(
        "--root", default="", help="state directory (default /run/skiff/oci, or $XDG_RUNTIME_DIR/skiff/oci)"
    )
    top.add_argument("--log", default="", help="file to which warnings and errors are written too")
    top.add_argument("--log-format", choices=("text", "json"), default="text", help="format of that file")
    top.add_argument("--log-level", default="", help=argparse.SUPPRESS)
    top.add_argument("--debug", action="store_true", help="accepted for compatibility, without effect")
    top.add_argument(
        "--systemd-cgroup", action="store_true", help="not supported: cgroups are created in the filesystem"
    )
    top.add_argument("--cgroup-manager", choices=("cgroupfs", "systemd", "disabled"), default="cgroupfs")
    top.add_argument("--rootless", default="auto", help=argparse.SUPPRESS)
    top.add_argument("--criu", default="", help=argparse.SUPPRESS)
    top.add_argument("--version", "-v", action="store_true", help="show the version")
    top.add_argument("--help", "-h", action="store_true", help="show this")
    top.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    top.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return top


def _new_process(parser: Parser) -> None:
    parser.add_argument("--console-socket", default="", help="unix socket to which the terminal's descriptor is sent")
    parser.add_argument("--pid-file", default="", help="file to write the PID to")
    parser.add_argument(
        "--preserve-fds",
        type=_count,
        default=0,
        help="how many descriptors from 3 on to pass (in addition to $LISTEN_FDS)",
    )


def _create(parser: Parser) -> None:
    parser.add_argument("--bundle", "-b", default=".", help="directory of config.json (default: the current one)")
    parser.add_argument("--config", "-f", default="", help="file to read instead of the bundle's config.json")
    _new_process(parser)
    parser.add_argument("--no-pivot", action="store_true", help="move the root instead of pivoting: for an initramfs")
    parser.add_argument("--no-new-keyring", action="store_true", help="share the caller's session keyring")
    parser.add_argument("id")


def _run(parser: Parser) -> None:
    parser.add_argument("--detach", "-d", action="store_true", help="return once it runs")
    parser.add_argument("--no-subreaper", action="store_true", help="do not reap the container's orphaned processes")
    parser.add_argument("--keep", action="store_true", help="do not delete the container when it has exited")
    _create(parser)


def _exec(parser: Parser) -> None:
    _new_process(parser)
    parser.add_argument("--detach", "-d", action="store_true", help="return once it runs")
    parser.add_argument("--tty", "-t", action="store_true", help="allocate a terminal")
    parser.add_argument("--process", "-p", default="", help="file with the process as JSON")
    parser.add_argument("--cwd", default="", help="working directory")
    parser.add_argument("--env", "-e", action="append", default=[], help="variable to set")
    parser.add_argument("--user", "-u", default="", help="UID[:GID]")
    parser.add_argument("--additional-gids", "-g", type=_count, action="append", default=[], help="further groups")
    parser.add_argument("--cap", "-c", action="append", default=[], help="capability to add")
    parser.add_argument("--no-new-privs", action="store_true", help="gain no privileges through execve(2)")
    parser.add_argument("--process-label", default="", help="SELinux label")
    parser.add_argument("--apparmor", default="", help="AppArmor profile")
    parser.add_argument("--no-subreaper", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--ignore-paused", action="store_true", help="allow it in a paused container, where the process waits"
    )
    parser.add_argument("--cgroup", default="", help="cgroup below the container's to run it in")
    parser.add_argument("id")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)


def _identity(parser: Parser) -> None:
    parser.add_argument("id")


def _regex(parser: Parser) -> None:
    parser.add_argument(
        "--regex", "-r", action="store_true", help="ID is a regular expression: all containers whose ID matches"
    )


def _kill(parser: Parser) -> None:
    parser.add_argument("--all", "-a", action="store_true", help="every process of the container")
    _regex(parser)
    parser.add_argument("id")
    parser.add_argument("signal", nargs="?", default="SIGTERM")


def _delete(parser: Parser) -> None:
    parser.add_argument("--force", "-f", action="store_true", help="kill it first; no error if it does not exist")
    _regex(parser)
    parser.add_argument("id")


def _list(parser: Parser) -> None:
    parser.add_argument("--format", "-f", choices=("table", "json"), default="table")
    parser.add_argument("--quiet", "-q", action="store_true", help="only IDs")


def _ps(parser: Parser) -> None:
    parser.add_argument("--format", "-f", choices=("table", "json"), default="table")
    parser.add_argument("id")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="options of ps(1) (default -ef)")


def _events(parser: Parser) -> None:
    parser.add_argument(
        "--interval", type=_interval, default=5.0, help="time between two outputs, such as 5s (default)"
    )
    parser.add_argument("--stats", action="store_true", help="print once")
    parser.add_argument("id")


def _spec(parser: Parser) -> None:
    parser.add_argument("--bundle", "-b", default=".", help="directory to write config.json to")
    parser.add_argument("--config", "-f", default="config.json", help="name of the file (default config.json)")
    parser.add_argument("--rootless", action="store_true", help="for a user without root")


def _update(parser: Parser) -> None:
    parser.add_argument(
        "--resources", "-r", default="", help="file with `linux.resources` as JSON; - is standard input"
    )
    for option in NUMBERS:
        parser.add_argument(f"--{option}", type=_bytes if "memory" in option else int, default=None)
    for option in TEXTS:
        parser.add_argument(f"--{option}", default=None)
    parser.add_argument("id")


NUMBERS = {
    "blkio-weight": ("blockIO", "weight"), "cpu-period": ("cpu", "period"), "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"), "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"), "cpu-share": ("cpu", "shares"), "cpu-shares": ("cpu", "shares"),
    "cpu-idle": ("cpu", "idle"), "memory": ("memory", "limit"), "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"), "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"), "pids-limit": ("pids", "limit"),
}  # fmt: skip
TEXTS = {
    "cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems"), "l3-cache-schema": ("intelRdt", "l3CacheSchema"),
    "mem-bw-schema": ("intelRdt", "memBwSchema"),
}  # fmt: skip
"""Options of `update` and their keys in `linux.resources`."""

COMMANDS: Mapping[str, tuple[str, Callable[[Parser], None]]] = {
    "create": ("create a container whose process waits to be started", _create),
    "start": ("start the process of a container", _identity),
    "run": ("create a container, start it, and wait until it exits", _run),
    "state": ("show the state of a container", _identity),
    "kill": ("send a signal to a container", _kill),
    "delete": ("remove a container that has stopped", _delete),
    "exec": ("run another process in a container", _exec),
    "ps": ("show the processes of a container", _ps),
    "list": ("show the containers", _list),
    "pause": ("freeze the processes of a container", _identity),
    "resume": ("thaw them", _identity),
    "update": ("change the limits of a container", _update),
    "events": ("show the resource usage of a container", _events),
    "spec": ("write a template of config.json", _spec),
    "features": ("show the features of this runtime", lambda _: None),
}


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _bytes(text: str) -> int:
    """Parse a number of bytes: "1048576", "1024k", "1g", "-1"."""
    units = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
    unit = units.get(text[-1:].lower())
    return int(text) if unit is None else int(text[:-1]) << unit


def _interval(text: str) -> float:
    """Parse a duration into seconds: "5s", "100ms", "1m"."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)
