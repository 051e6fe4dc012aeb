"""The instructions of a Dockerfile as data, words not yet expanded. Source: Dockerfile reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.build.lines import Heredoc


@dataclass(frozen=True)
class Command:
    """What RUN, CMD or ENTRYPOINT starts: arguments (exec form), or one line for the shell."""

    arguments: tuple[str, ...]
    shell_form: bool


@dataclass(frozen=True)
class Instruction:
    """Common to all: the text as written (continuations joined) and the line it begins on."""

    text: str
    line: int


@dataclass(frozen=True)
class From(Instruction):
    """FROM [--platform=…] image [AS name]."""

    image: str
    name: str | None = None
    platform: str | None = None


@dataclass(frozen=True)
class Arg(Instruction):
    """ARG name[=default] …."""

    arguments: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Env(Instruction):
    """ENV name=value …."""

    variables: tuple[tuple[str, str], ...]
    is_old_form: bool = False
    """Whether it is written without `=`."""


@dataclass(frozen=True)
class Label(Instruction):
    """LABEL name=value …."""

    labels: tuple[tuple[str, str], ...]
    is_old_form: bool = False


@dataclass(frozen=True)
class Run(Instruction):
    """RUN [--mount=…] [--network=…] [--security=…] command.

    `mounts` are the mount flags as written, `sources` the stages, contexts and images that they name.
    """

    command: Command
    mounts: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    network: str | None = None
    heredocs: tuple[Heredoc, ...] = ()
    is_insecure: bool = False


@dataclass(frozen=True)
class Copy(Instruction):
    """COPY, and ADD where `is_add`: sources, destination and their flags."""

    sources: tuple[str, ...]
    destination: str
    is_add: bool = False
    from_stage: str | None = None
    chown: str | None = None
    chmod: str | None = None
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str | None = None
    keep_git_dir: bool = False
    unpack: bool | None = None
    is_link: bool = False
    """Whether the layer may be taken from the cache on another base as well (--link)."""
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True)
class Workdir(Instruction):
    """WORKDIR path."""

    path: str


@dataclass(frozen=True)
class User(Instruction):
    """USER user[:group]."""

    user: str


@dataclass(frozen=True)
class Expose(Instruction):
    """EXPOSE port[/protocol] …."""

    ports: tuple[str, ...]


@dataclass(frozen=True)
class VolumeInstruction(Instruction):
    """VOLUME path …."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class Cmd(Instruction):
    """CMD command."""

    command: Command


@dataclass(frozen=True)
class Entrypoint(Instruction):
    """ENTRYPOINT command."""

    command: Command


@dataclass(frozen=True)
class Shell(Instruction):
    """SHELL ["executable", "parameter" …]."""

    arguments: tuple[str, ...]


@dataclass(frozen=True)
class StopSignal(Instruction):
    """STOPSIGNAL signal."""

    signal: str


@dataclass(frozen=True)
class Healthcheck(Instruction):
    """HEALTHCHECK [options] CMD command, or NONE (no command); durations in nanoseconds, 0 where not given."""

    command: Command | None
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True)
class Maintainer(Instruction):
    """MAINTAINER name, kept as the image's author."""

    name: str


@dataclass(frozen=True)
class OnBuild(Instruction):
    """ONBUILD instruction: its text is run by the build that starts from the image."""

    trigger: str


@dataclass(frozen=True)
class Stage:
    """One FROM with the instructions up to the next."""

    index: int
    base: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """The stage's name, or its index where it has none."""
        return self.base.name or str(self.index)


@dataclass(frozen=True)
class Dockerfile:
    """A parsed Dockerfile: the ARGs before the first FROM, the stages, the escape character."""

    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    escape: str = "\\"
    name: str = "Dockerfile"
    directives: Mapping[str, str] = field(default_factory=dict)
    empty_lines: tuple[int, ...] = ()
    """The last lines of instructions with empty lines in them."""
