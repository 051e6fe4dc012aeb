"""OCI bundles with a busybox root, and the program that runs them."""

import copy
import json
import os
import select
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from runtime.oci.cgroup import Cgroups
from runtime.oci.program.template import template
from tests.support.images import GROUP, PASSWD, busybox_program

PROGRAM = (sys.executable, "-m", "compose.cli.entry", "oci")
APPLETS = (
    "sh cat cp chmod date dd echo env false grep head hostname id ip kill ls mkdir mkfifo mount mv ps pwd readlink rm sed "
    "sleep stat sync taskset touch tr true tty umount uname wc"
).split()


def busybox_rootfs(folder: Path) -> Path:
    """Make a root filesystem in `folder`."""
    for name in ("bin", "etc", "proc", "dev", "sys", "tmp", "root", "home/app", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    (folder / "bin/busybox").write_bytes(busybox_program().read_bytes())
    (folder / "bin/busybox").chmod(0o755)
    for name in APPLETS:
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "etc/passwd").write_text(PASSWD)
    (folder / "etc/group").write_text(GROUP)
    return folder


class Program:
    """The program with a state directory of its own, and the bundles that it was given."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.state = folder / "state"
        self.rootfs = busybox_rootfs(folder / "rootfs")
        self.prefix = f"t{uuid.uuid4().hex[:8]}"

    def document(self, *arguments):
        """Return a document for `arguments`, which may be changed before it becomes a bundle."""
        document = copy.deepcopy(template())
        document["process"].update(terminal=False, args=list(arguments) or ["true"])
        document["root"] = {"path": str(self.rootfs), "readonly": False}
        return document

    def bundle(self, document):
        """Write `document` into a bundle of its own; returns its directory and the ID that is meant for it."""
        identity = f"{self.prefix}-{uuid.uuid4().hex[:8]}"
        folder = self.folder / identity
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(document))
        return folder, identity

    def __call__(self, *words, check=True, input=None, timeout=60, options=(), **more):
        """Run one command to its end."""
        done = subprocess.run(
            [*PROGRAM, "--root", str(self.state), *options, *map(str, words)],
            capture_output=True, text=True, timeout=timeout, input=input,
            **({} if input is not None else {"stdin": subprocess.DEVNULL}), **more,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"oci {words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def run(self, document, *options, check=True, **more):
        """Run `document` in the foreground; returns what it did."""
        folder, identity = self.bundle(document)
        return self("run", *options, "--bundle", folder, identity, check=check, **more)

    def create(self, document, *options, **more):
        """Make a container; returns its ID. Its output goes to the file `out` in its bundle."""
        return self._leave("create", document, options, more)

    def detached(self, document, *options, **more):
        """Make a container and start it by `run --detach`; as `create` otherwise."""
        return self._leave("run", document, ["--detach", *options], more)

    def _leave(self, command, document, options, more):
        folder, identity = self.bundle(document)
        with open(folder / "out", "wb") as out, open(folder / "err", "w+b") as err:
            done = subprocess.run(
                [*PROGRAM, "--root", str(self.state), command, *map(str, options), "--bundle", folder, identity],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60, **more,
            )  # fmt: skip
        assert done.returncode == 0, (folder / "err").read_text()
        return identity

    def started(self, document, *options):
        """Make and start a container; returns its ID."""
        identity = self.create(document, *options)
        self("start", identity)
        return identity

    def out(self, identity):
        """Return what the container wrote to standard output so far."""
        return (self.folder / identity / "out").read_text()

    def get(self, identity):
        """Return the state of a container."""
        return json.loads(self("state", identity).stdout)

    def end(self, identity, number=signal.SIGKILL):
        """Signal a container's process and return once it has ended."""
        pidfd = os.pidfd_open(self.get(identity)["pid"])
        self("kill", identity, int(number))
        wait(pidfd)

    def clean(self):
        """Delete every container; nothing of them is left in the control groups."""
        for state in json.loads(self("list", "--format", "json").stdout):
            self("delete", "--force", state["id"])
        assert not self.state.exists() or not os.listdir(self.state)
        for directory in Cgroups().directories("/skiff.oci").values():
            names = os.listdir(directory) if os.path.isdir(directory) else []
            assert not [name for name in names if name.startswith(self.prefix)]


def wait(pidfd, timeout_s=10):
    """Return once the process of `pidfd`, which is closed, has ended."""
    try:
        assert select.select([pidfd], [], [], timeout_s)[0], "the process did not end"
    finally:
        os.close(pidfd)
