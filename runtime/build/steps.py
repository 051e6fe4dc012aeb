"""The steps that change files: what decides their result, and how they are done."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anyio.to_thread

from runtime.build import certificates, configure
from runtime.build import instructions as ins
from runtime.build.arguments import SANDBOX_HOSTNAME, proxies
from runtime.build.errors import DockerfileError
from runtime.build.history import run_by
from runtime.build.mounts import RunMounts
from runtime.build.options import BuildOptions
from runtime.build.output import CommandOutput
from runtime.build.runner import HOSTNAME, RootFilesystem
from runtime.build.tree import Entry, Tree
from runtime.build.users import account_of
from runtime.build.writer import Owner, Writer
from runtime.container.spec import DEFAULT_PATH
from runtime.image.machine import why_not
from runtime.image.manifest import Platform
from runtime.oci.types import OciProcess, OciRlimit

if TYPE_CHECKING:
    from runtime.build.stage import StageBuilder


class Step(Protocol):
    """A step that makes a layer."""

    @property
    def identity(self) -> Any:
        """Everything, besides the parent, that decides the result, as a JSON value."""
        ...

    @property
    def created_by(self) -> str | None:
        """What history says of it, None for what it says of the instruction."""
        ...

    @property
    def foundation(self) -> Any:
        """What the step takes from the layers below it, as a JSON value; None for everything."""
        ...

    async def perform(self, upper: Path, directory: Path) -> None:
        """Write the step's changes to `upper`; `directory`, next to it, is for whatever else it needs."""
        ...


class WorkdirStep:
    """Makes the working directory where it is missing: it belongs to the stage's user."""

    created_by: str | None = None
    foundation: Any = None

    def __init__(self, path: str, layers: tuple[Path, ...], owner: Owner) -> None:
        self._path = path
        self._layers = layers
        self._owner = owner
        self.identity: Any = path if owner == Owner() else [path, owner.uid, owner.gid]

    @classmethod
    async def prepare(cls, stage: StageBuilder) -> WorkdirStep:
        """Look up the user."""
        path = posixpath.normpath("/" + stage.state.config["WorkingDir"].lstrip("/"))
        return cls(path, stage.layers, stage.owner(stage.state.config.get("User") or ""))

    async def perform(self, upper: Path, directory: Path) -> None:
        """Make the directory, unless it is there."""
        existing = Tree(self._layers).find(self._path)
        if existing is None or not existing.is_directory:
            Writer(upper, self._layers).directory(self._path, self._owner)


@dataclass
class RunStep:
    """RUN."""

    stage: StageBuilder
    instruction: ins.Run
    arguments: list[str]
    environment: dict[str, str]
    mounts: RunMounts
    identity: Any
    created_by: str | None = None
    foundation: Any = None

    @classmethod
    async def prepare(cls, stage: StageBuilder, instruction: ins.Run) -> RunStep:
        """Work out the command line, environment and mounts. Raises DockerfileError."""
        config, options = stage.state.config, stage.workshop.options
        _refuse_unallowed(instruction, options)
        platform = Platform.of(stage.state.document)
        if (cure := why_not(platform)) is not None:
            raise DockerfileError(f"programs for {platform} do not run on this machine ({Platform.host()})", hint=cure)
        mounts = await RunMounts.prepare(stage, instruction)
        command, scripts = _command(instruction)
        for path, text in scripts.items():
            mounts.show(path, text.encode(), 0o755)
        arguments = configure.command_line(command, config)
        variables = dict(stage.variables)
        environment = {"PATH": DEFAULT_PATH, **proxies(options), **variables}
        network = instruction.network or options.network_mode
        identity = [
            arguments, variables, config.get("User"), config.get("WorkingDir"), network, options.extra_hosts,
            mounts.identity, scripts,
        ]  # fmt: skip
        if options.build_args.get(SANDBOX_HOSTNAME):
            identity.append(["hostname", options.build_args[SANDBOX_HOSTNAME]])
        if instruction.is_insecure:
            identity.append("insecure")
        text = run_by(arguments, stage.state.arguments, variables)
        return cls(stage, instruction, arguments, environment, mounts, identity, text)

    async def perform(self, upper: Path, directory: Path) -> None:
        """Run the command. Raises DockerfileError with exit code and last output when it fails."""
        stage, config = self.stage, self.stage.state.config
        options = stage.workshop.options
        work = directory / "work"
        work.mkdir()
        account = account_of(config.get("User") or "", stage.tree)
        environment = {"HOME": account.home, **self.environment, **self.mounts.environment}
        process: OciProcess = {
            "terminal": False,
            "args": self.arguments,
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": posixpath.normpath(config.get("WorkingDir") or "/"),
            # the user's own group counts among the others, as containerd has it: programs look for it there
            "user": {
                "uid": account.uid,
                "gid": account.gid,
                "additionalGids": [*{account.gid: 0, **dict.fromkeys(account.groups)}],
            },
        }
        if options.ulimits:
            process["rlimits"] = [_rlimit(limit) for limit in options.ulimits]
        output = CommandOutput(stage.output)
        async with self.mounts.ready(directory) as mounts:
            exit_code = await stage.workshop.runner.run(
                RootFilesystem(stage.layers, upper, work),
                process,
                mounts,
                self.instruction.network or options.network_mode,
                output.write,
                extra_hosts=options.extra_hosts,
                shm_size_bytes=options.shm_size_bytes,
                is_privileged=self.instruction.is_insecure,
                memory_bytes=options.memory_bytes,
                hostname=options.build_args.get(SANDBOX_HOSTNAME) or HOSTNAME,
            )
        if exit_code:
            last = "\n    ".join(output.last_lines)
            if not options.certificates and certificates.is_missing(output.last_lines):
                last += (
                    "\n    a proxy that ends TLS? the CA certificates of this machine can be given to the steps: "
                    "`skiff build --with-host-ca`"
                )
            raise DockerfileError(
                f"The command '{' '.join(self.arguments)}' returned a non-zero code: {exit_code}",
                hint=f"its last output:\n    {last}" if last else "it printed nothing",
                exit_code=exit_code,
            )
        targets = [mount["destination"] for mount in mounts]
        await anyio.to_thread.run_sync(remove_mount_points, upper, stage.tree, targets)


def _refuse_unallowed(instruction: ins.Run, options: BuildOptions) -> None:
    wants_host = instruction.network == "host" and options.network_mode != "host"
    for is_wanted, flag, entitlement in (
        (wants_host, "--network=host", "network.host"),
        (instruction.is_insecure, "--security=insecure", "security.insecure"),
    ):
        if is_wanted and entitlement not in options.entitlements:
            raise DockerfileError(
                f"{entitlement} is not allowed: RUN {flag} reaches out of the build",
                hint=f"allow it: `entitlements: [{entitlement}]` under `build:` in the Compose file",
            )


SCRIPTS = "/dev/pipes"
"""Where a document is seen that is a script of its own."""
_MOUNT_POINTS = ("/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


def _command(instruction: ins.Run) -> tuple[ins.Command, dict[str, str]]:
    """Return what a RUN with its documents runs, and the scripts that it needs for that: texts by path."""
    if not instruction.heredocs:
        return instruction.command, {}
    line = instruction.command.arguments[0]
    first = instruction.heredocs[0]
    if line.strip().replace('"', "").replace("'", "") in (f"<<{first.name}", f"<<-{first.name}"):
        # the document alone is a script: for the shell, or for what its first line names
        if first.content.startswith("#!"):
            path = f"{SCRIPTS}/{first.name}"
            return ins.Command((path,), shell_form=True), {path: first.content}
        return ins.Command((first.content,), shell_form=True), {}
    bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in instruction.heredocs)
    return ins.Command((line + bodies,), shell_form=True), {}


def _rlimit(limit: Mapping[str, Any]) -> OciRlimit:
    return {"type": f"RLIMIT_{limit['Name'].upper()}", "soft": limit["Soft"], "hard": limit["Hard"]}


def remove_mount_points(upper: Path, lower: Tree, targets: list[str]) -> None:
    """Take away the empty files and directories that only served as mount points, and what was copied up for them."""
    for target in sorted({*_MOUNT_POINTS, *targets}, key=len, reverse=True):
        path = posixpath.normpath("/" + target.lstrip("/"))
        while path != "/":
            location = upper / path.lstrip("/")
            if (
                not location.exists()
                or location.is_symlink()
                or not _is_untouched(location, lower.find(path, follow=False))
            ):
                break
            location.rmdir() if location.is_dir() else location.unlink()
            path = posixpath.dirname(path)


def _is_untouched(location: Path, before: Entry | None) -> bool:
    info = location.lstat()
    if stat.S_ISDIR(info.st_mode):
        if any(location.iterdir()):
            return False
    elif not stat.S_ISREG(info.st_mode) or info.st_size:
        return False
    if before is None:
        return True
    now, then = info, before.info
    return before.is_directory and (now.st_mode, now.st_uid, now.st_gid) == (then.st_mode, then.st_uid, then.st_gid)
