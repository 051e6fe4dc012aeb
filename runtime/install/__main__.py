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
from runtime.client.endpoint import Endpoint
from runtime.client.start import is_served
from runtime.errors import SkiffError
from runtime.install.units import SERVICE, SOCKET, Installation, is_ours, state_root, units
from runtime.paths import Paths
from runtime.root_lock import elsewhere

SYSTEM_UNITS = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")
"""There exactly where systemd is the first process (sd_booted(3))."""
LINGERING = Path("/var/lib/systemd/linger")


@dataclass(frozen=True)
class Systemd:
    """The service manager of the machine, or of one user: where its units are, and how it is told."""

    folder: Path
    is_system: bool

    @classmethod
    def of_caller(cls) -> Systemd:
        """Return root's or the user's. Raises SkiffError where there is none."""
        if not BOOTED.is_dir():
            raise SkiffError(
                "systemd does not run here, so there is nobody to hold the socket or to start the engine at boot",
                "have `skiff engine run` started at boot by what does (it stays in the foreground); without that, any "
                "skiff command starts the engine",
            )
        if os.getuid() == 0:
            return cls(SYSTEM_UNITS, is_system=True)
        home = Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
        return cls(Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "systemd/user", is_system=False)

    def run(self, *arguments: str) -> None:
        """Run systemctl, and say so. Raises SkiffError with what it printed."""
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
        """Return the texts of our units that are there. Raises SkiffError for one that is somebody else's."""
        found = {}
        for name in (SOCKET, SERVICE):
            path = self.folder / name
            if path.is_symlink() or path.exists():
                text = "" if path.is_symlink() else path.read_text(errors="replace")
                if not is_ours(text):
                    raise SkiffError(
                        f"{path} was not written by `skiff engine install`, and is left as it is",
                        "remove it, or give it another name, and try again",
                    )
                found[name] = text
        return found


def install(systemd: Systemd, installation: Installation) -> None:
    """Write the units, have systemd start them, and say all that was done. Raises SkiffError, OSError."""
    other = elsewhere(installation.paths)
    if other is not None:
        raise SkiffError(
            f"{installation.paths.root} is served from another run directory, {other.run}",
            f"stop that engine first: SKIFF_RUN={other.run} skiff engine stop --force, or name that directory here",
        )
    before, wanted = systemd.installed(), units(installation)
    if before and before != wanted:
        systemd.run("stop", *before)  # a socket can't change while its service runs; containers run on
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
    print(f"\nThe Docker Engine API is at unix://{installation.paths.engine_socket}: whoever connects gets an engine.")
    if installation.is_system or (LINGERING / _user()).exists():
        print("Containers with `restart: always` or `unless-stopped` are back after a boot.")
    else:
        print(
            "Lingering is off: engine and containers end when you log out, and are back when you log in, not at boot.\n"
            f"    turn it on: loginctl enable-linger {_user()}"
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
        f"\nImages, containers and volumes stay in {root or 'the state root'}. Containers that run go on; the next skiff "
        "command starts an engine for them."
    )


def _stop_engine(paths: Paths) -> None:
    """Stop an engine that was started by hand, and the doorman that has its socket: the name is to be systemd's."""
    if not is_served(paths):
        return
    client = Client(Endpoint(path=str(paths.engine_socket)), starts=False)
    found = client.engine()
    waits = [os.pidfd_open(pid) for name in ("engine_pid", "doorman_pid") if (pid := found.get(name))]
    client.stop_engine(force=False)
    import select

    for descriptor in waits:
        select.select([descriptor], [], [], 20)
        os.close(descriptor)
    print(
        f"stopped the engine that ran (process {found['engine_pid']}); containers run on, systemd starts the next one"
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
        raise SkiffError("a user's engine is that user's alone, so its socket has no group", "leave --group out")
    if group and not group.isdigit():
        try:
            grp.getgrnam(group)
        except KeyError:
            raise SkiffError(f"there is no group {group!r}", f"make it: groupadd {group}") from None
    paths = Paths.from_environment(environment, os.getuid())
    for path in (str(paths.root), str(paths.run)):
        if "\n" in path:
            raise SkiffError(f"{path!r}: a unit file can't name a path with a line feed in it", "choose another")
    return Installation(paths, sys.executable, os.getuid() == 0, group)


def _check_scope(asked: argparse.Namespace) -> None:
    if asked.scope == "system" and os.getuid() != 0:
        raise SkiffError(
            "the system's units are root's", "run it as root, or without --system for an engine of your own"
        )
    if asked.scope == "user" and os.getuid() == 0:
        raise SkiffError(
            "root's engine is the system's: a user's is installed by that user",
            "log in as the user, or leave --user out",
        )


def main(arguments: Sequence[str]) -> None:
    """Do what is asked for; exits with 1 and a message where it can't be."""
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
