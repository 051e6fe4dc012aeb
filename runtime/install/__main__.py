"""`python -m runtime.install install|uninstall …`: see `skiff engine install --help`."""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.client import Client
from runtime.client.endpoint import EngineAddress
from runtime.client.start import is_served
from runtime.client.stop import stop_engine
from runtime.errors import SkiffError
from runtime.install.units import SERVICE, SOCKET, Installation, is_ours, state_root, units
from runtime.paths import Paths
from runtime.root_lock import elsewhere

SYSTEM_UNITS = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")
"""Exists if, and only if, systemd is the init process (sd_booted(3))."""
LINGERING = Path("/var/lib/systemd/linger")


@dataclass(frozen=True)
class Systemd:
    """The system's or a user's service manager: the directory of its units, and how to call it."""

    folder: Path
    is_system: bool

    @classmethod
    def of_caller(cls) -> Systemd:
        """Return the system's for root, else the user's. Raises SkiffError if systemd does not run."""
        if not BOOTED.is_dir():
            raise SkiffError(
                "systemd does not run here, so it can't own the socket or start the engine at boot",
                "have your init system run `skiff engine run` at boot (it stays in the foreground); without that, "
                "any skiff command starts the engine",
            )
        if os.getuid() == 0:
            return cls(SYSTEM_UNITS, is_system=True)
        home = Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
        return cls(Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "systemd/user", is_system=False)

    def run(self, *arguments: str) -> None:
        """Run systemctl, and print the command. Raises SkiffError with its error output."""
        command = ["systemctl", *([] if self.is_system else ["--user"]), *arguments]
        print(f"ran    {shlex.join(command)}", flush=True)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        cure = f"the log: journalctl {'' if self.is_system else '--user '}-u {SERVICE}"
        if "connect to bus" in done.stderr:
            cure = f"log in as that user (ssh, machinectl shell), or: loginctl enable-linger {_user()}"
        raise SkiffError(f"{shlex.join(command)}: {done.stderr.strip()}", cure)

    def installed(self) -> dict[str, str]:
        """Return the contents of our installed units. Raises SkiffError for one that we did not write."""
        found = {}
        for name in (SOCKET, SERVICE):
            path = self.folder / name
            if path.is_symlink() or path.exists():
                text = "" if path.is_symlink() else path.read_text(errors="replace")
                if not is_ours(text):
                    raise SkiffError(
                        f"{path} was not written by `skiff engine install`, and is not overwritten",
                        "remove or rename it, and try again",
                    )
                found[name] = text
        return found


def install(systemd: Systemd, installation: Installation) -> None:
    """Write the units, have systemd start them, and print all steps. Raises SkiffError, OSError."""
    other = elsewhere(installation.paths)
    if other is not None:
        raise SkiffError(
            f"{installation.paths.root} is served from another run directory, {other.run}",
            f"stop that engine first: SKIFF_RUN={other.run} skiff engine stop --force, or name that directory here",
        )
    before, wanted = systemd.installed(), units(installation)
    if before and before != wanted:
        systemd.run("stop", *before)  # a socket can't be changed while its service runs; containers keep running
    if before != wanted:
        _stop_engine(installation.paths)
    systemd.folder.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        path = systemd.folder / name
        if before.get(name) == text:
            print(f"as is  {path}")
        else:
            _write(path, text)
            print(f"wrote  {path}")
    systemd.run("daemon-reload")
    systemd.run("enable", "--now", SOCKET, SERVICE)
    print(f"\nThe Docker Engine API is at unix://{installation.paths.engine_socket}: connecting starts the engine.")
    if installation.is_system or (LINGERING / _user()).exists():
        print("Containers with `restart: always` or `unless-stopped` are restarted at boot.")
    else:
        print(
            "Lingering is off: engine and containers are stopped when you log out, and started when you log in, not at "
            f"boot.\n    turn it on: loginctl enable-linger {_user()}"
        )


def uninstall(systemd: Systemd) -> None:
    """Stop and remove the units that `install` wrote. Raises SkiffError, OSError."""
    found = systemd.installed()
    if not found:
        print(f"nothing to remove: neither {SOCKET} nor {SERVICE} is in {systemd.folder}")
        return
    systemd.run("disable", "--now", *found)
    for name in found:
        (systemd.folder / name).unlink()
        print(f"removed {systemd.folder / name}")
    systemd.run("daemon-reload")
    root = state_root(found.get(SERVICE, ""))
    print(
        f"\nImages, containers and volumes stay in {root or 'the state root'}. Running containers keep running; the next "
        "skiff command starts an engine for them."
    )


def _stop_engine(paths: Paths) -> None:
    """Stop an engine that was started without systemd, and the doorman: the socket's path must be free for systemd."""
    if not is_served(paths):
        return
    client = Client(EngineAddress(path=str(paths.engine_socket)), starts=False)
    found = client.engine()
    stop_engine(client, found, force=False)
    print(
        f"stopped the running engine (PID {found['engine_pid']}); containers keep running, systemd starts the next engine"
    )


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _installation(asked: argparse.Namespace) -> Installation:
    environment = dict(os.environ)
    if asked.root:
        environment.pop("SKIFF_RUN", None)
        environment["SKIFF_ROOT"] = asked.root
    group = asked.group or os.environ.get("SKIFF_GROUP") or ""
    if group and os.getuid() != 0:
        raise SkiffError("only its owner can use a user's engine, so its socket has no group", "omit --group")
    if group and not group.isdigit():
        try:
            grp.getgrnam(group)
        except KeyError:
            raise SkiffError(f"there is no group {group!r}", f"create it: groupadd {group}") from None
    paths = Paths.from_environment(environment, os.getuid())
    for path in (str(paths.root), str(paths.run)):
        if "\n" in path:
            raise SkiffError(f"{path!r}: a unit file can't have a path with a line feed", "choose another path")
    return Installation(paths, sys.executable, os.getuid() == 0, group)


def _check_scope(asked: argparse.Namespace) -> None:
    if asked.scope == "system" and os.getuid() != 0:
        raise SkiffError(
            "only root can install the system's units", "run it as root, or without --system for an engine of your own"
        )
    if asked.scope == "user" and os.getuid() == 0:
        raise SkiffError(
            "root can't install a user's units: the user does that",
            "log in as the user, or omit --user",
        )


def main(arguments: Sequence[str]) -> None:
    """Run the command line `arguments`; exits with status 1 and a message on failure."""
    parser = argparse.ArgumentParser(prog="skiff engine", allow_abbrev=False)
    parser.add_argument("action", choices=("install", "uninstall"))
    scope = parser.add_mutually_exclusive_group()
    for name in ("system", "user"):
        scope.add_argument(f"--{name}", dest="scope", action="store_const", const=name)
    parser.add_argument("--group", default="")
    parser.add_argument("--root", default="")
    asked = parser.parse_args(arguments)
    try:
        _check_scope(asked)
        systemd = Systemd.of_caller()
        if asked.action == "install":
            install(systemd, _installation(asked))
        else:
            uninstall(systemd)
    except SkiffError as error:
        sys.exit(f"skiff: {error}")
    except OSError as error:
        sys.exit(f"skiff: {error.filename or 'systemctl'}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
