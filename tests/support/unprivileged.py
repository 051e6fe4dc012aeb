"""A user without root, made for the tests and removed with all that is theirs."""

import os
import pwd
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import SKIFF, Home
from tests.support.project import eventually

CHECKOUT = Path(__file__).resolve().parents[2]
RANGE = 65536
EVERY_ID = 1 << 32


@dataclass(frozen=True)
class User:
    """An account; `first` is the first of its subordinate IDs, 0 without any."""

    name: str
    uid: int
    gid: int
    home: Path
    first: int = 0

    def processes(self):
        """The processes of the user and of the subordinate IDs, as "number command"; not the dead that await init."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                uid = folder.stat().st_uid
                if (folder / "stat").read_text().rpartition(")")[2].split()[:2] == ["Z", "1"]:
                    continue
                if uid == self.uid or (self.first and self.first <= uid < self.first + RANGE):
                    found.add(f"{folder.name} {(folder / 'comm').read_text().strip()}")
            except OSError:
                continue
        return found

    def owns(self, path):
        """Whether a file belongs to the user or to a subordinate ID."""
        uid = path.lstat().st_uid
        return uid == self.uid or (self.first and self.first <= uid < self.first + RANGE)


@contextmanager
def unprivileged_user(*, has_ranges):
    """Make a user, with ranges of subordinate IDs or without; both gone at the end with their files."""
    base = Path(tempfile.mkdtemp(prefix="skiff-", dir="/tmp"))
    base.chmod(0o755)
    name = f"skiff{secrets.token_hex(3)}"
    # a system account gets no ranges by itself
    subprocess.run(["useradd", "--system", "--create-home", "--home-dir", base / "home", name], check=True)
    account = pwd.getpwnam(name)
    first = _free_range() if has_ranges else 0
    try:
        if has_ranges:
            wanted = f"{first}-{first + RANGE - 1}"
            subprocess.run(["usermod", "--add-subuids", wanted, "--add-subgids", wanted, name], check=True)
        yield User(name, account.pw_uid, account.pw_gid, base / "home", first)
    finally:
        for line in User(
            name, account.pw_uid, account.pw_gid, base / "home", first
        ).processes():  # of a test that failed
            os.kill(int(line.split()[0]), signal.SIGKILL)
        subprocess.run(["userdel", "--force", name], check=True)
        shutil.rmtree(base)


def _free_range():
    """The first of as many IDs as a user gets, above all that are given to somebody."""
    taken = [1 << 20]
    for file in ("/etc/subuid", "/etc/subgid"):
        for line in Path(file).read_text().splitlines() if Path(file).exists() else ():
            _, first, count = line.split(":")
            taken.append(int(first) + int(count))
    return max(taken)


class UserHome(Home):
    """The engine home of a user, in its usual places; what it runs sees what the interpreter is made of."""

    def __init__(self, user, **environment):
        root = user.home / ".local/share/skiff"
        session = environment.get("XDG_RUNTIME_DIR")
        super().__init__(root, Path(session) / "skiff" if session else root / "run", environment)
        self.user = user
        self.machine = ()
        """A command before all others, which puts them on another machine: a network namespace."""

    @property
    def env(self):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SKIFF_", "XDG_"))}
        return {**kept, "HOME": str(self.user.home), "USER": self.user.name, **self.environment}

    @property
    def command(self):
        return (*self.as_user, *SKIFF)

    @property
    def as_user(self):
        """The command before a command that makes the user run it."""
        become = f"exec setpriv --reuid={self.user.uid} --regid={self.user.gid} --init-groups"
        script = f'{"".join(_uncovered(self.user.home))}{become} "$@"'
        return (*self.machine, "unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh")

    def folder(self, name):
        """Make a directory of the user's."""
        path = self.user.home / name
        path.mkdir()
        os.chown(path, self.user.uid, self.user.gid)
        return path


@contextmanager
def served(home, archive):
    """Run the engine of `home` with the images of `archive`; at the end nothing of it runs."""
    own = home.user.home / archive.name
    own.write_bytes(archive.read_bytes())
    home.skiff("image", "load", "-i", own)
    try:
        yield home
    finally:
        home.stop()
        eventually(lambda: not home.user.processes(), what="the end of the user's processes")


def _uncovered(scratch):
    """Shell lines that show, in a mount namespace, what lies in directories that are closed to others (/root, say)."""
    needed = dict.fromkeys((Path(sys.base_prefix), Path(sys.prefix), CHECKOUT))
    closed = {path: folder for path in needed if (folder := _closed(path)) is not None}
    kept = {path: scratch.parent / f"uncovered{number}" for number, path in enumerate(closed)}
    for path, place in kept.items():
        yield f"mkdir -p {place}; mount --rbind {shlex.quote(str(path))} {place}\n"
    for folder in dict.fromkeys(closed.values()):
        yield f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(folder))}\n"
    for path, place in kept.items():
        yield f"mkdir -p {shlex.quote(str(path))}; mount --rbind {place} {shlex.quote(str(path))}; umount -l {place}\n"


def _closed(path):
    """The topmost directory above `path` that others may not enter."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)
