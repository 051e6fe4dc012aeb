"""Dockerfile text to stages of instructions: pure, and every complaint carries its line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from runtime.build import instructions as ins
from runtime.build.errors import DockerfileError, suggestion
from runtime.build.flags import take_flags
from runtime.build.lines import Heredoc, LogicalLine, read_source, split_words
from runtime.build.mount_options import mount_source

_STAGE_NAME = re.compile(r"^[a-z][a-z0-9-_.]*$")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_DURATION_UNITS_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_NOT_IN_ONBUILD = ("ONBUILD", "FROM", "MAINTAINER")


@dataclass(frozen=True)
class _Statement:
    """One logical line with keyword and `--flags` taken off."""

    keyword: str
    flags: tuple[tuple[str, str | None], ...]
    rest: str
    text: str
    line: int
    heredocs: tuple[Heredoc, ...]
    escape: str

    def fail(self, problem: str, hint: str | None = None) -> DockerfileError:
        return DockerfileError(problem, self.line, hint)

    def flag(self, name: str) -> str | None:
        values = [value for flag, value in self.flags if flag == name]
        return values[-1] if values else None

    def switch(self, name: str) -> bool | None:
        present = [value for flag, value in self.flags if flag == name]
        return present[-1] != "false" if present else None

    def words(self) -> tuple[str, ...]:
        """Return the arguments, in JSON form or separated by white space: quotes hold nothing together here."""
        array = self.array(self.rest)
        return tuple(self.rest.split()) if array is None else array

    def command(self) -> ins.Command:
        array = self.array(self.rest)
        return ins.Command((self.rest,), shell_form=True) if array is None else ins.Command(array, shell_form=False)

    def array(self, text: str) -> tuple[str, ...] | None:
        """Return the texts of a JSON array, None when `text` is none. Raises DockerfileError for one of other values."""
        if not text.startswith("["):
            return None
        try:
            array = json.loads(text)
        except ValueError:
            return None
        if not all(isinstance(item, str) for item in array):
            raise self.fail(
                "when using JSON array syntax, arrays must be comprised of strings only", 'write ["…", "1"]'
            )
        return tuple(array)


def parse(text: str, name: str = "Dockerfile") -> ins.Dockerfile:
    """Parse a whole Dockerfile.

    Raises DockerfileError with file, line, problem and, where one is near, the word that was meant.
    """
    try:
        return _parse(text, name)
    except DockerfileError as error:
        raise error.in_file(name) from None


def _parse(text: str, name: str) -> ins.Dockerfile:
    source = read_source(text)
    arguments: list[ins.Arg] = []
    stages: list[tuple[ins.From, list[ins.Instruction]]] = []
    for logical in source.lines:
        instruction = parse_instruction(logical, source.escape)
        if isinstance(instruction, ins.From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, ins.Arg):
            arguments.append(instruction)
        else:
            keyword = logical.text.split(None, 1)[0].upper()
            raise DockerfileError(
                "no build stage in current context",
                logical.line,
                f"begin with FROM, before {keyword}; only ARG may stand before it",
            )
    if not stages:
        raise DockerfileError(
            "the Dockerfile has no build stage" if source.lines else f"the Dockerfile ({name}) cannot be empty",
            hint="it needs at least a line FROM image",
        )
    built = tuple(ins.Stage(index, base, tuple(body)) for index, (base, body) in enumerate(stages))
    empty_lines = tuple(line.empty_at for line in source.lines if line.empty_at)
    return ins.Dockerfile(tuple(arguments), built, source.escape, name, source.directives, empty_lines)


def parse_trigger(text: str, line: int) -> list[ins.Instruction]:
    """Return the instructions of an ONBUILD trigger; a mistake in one is reported at `line`. Raises DockerfileError."""
    return [replace(parse_instruction(one), line=line) for one in read_source(text).lines]


def parse_instruction(logical: LogicalLine, escape: str = "\\") -> ins.Instruction:
    """Parse one logical line. Raises DockerfileError."""
    parts = logical.text.split(None, 1)
    keyword, rest = parts[0].upper(), parts[1].strip() if len(parts) > 1 else ""
    reader = _READERS.get(keyword)
    if reader is None:
        raise DockerfileError(f"unknown instruction: {parts[0]}", logical.line, suggestion(keyword, _READERS))
    flags, rest = take_flags(rest, keyword, logical.line)
    statement = _Statement(keyword, flags, rest, logical.text, logical.line, logical.heredocs, escape)
    if not rest and keyword not in _MAY_BE_EMPTY:
        raise statement.fail(f"{keyword} requires {_NEEDS.get(keyword, 'at least one argument')}")
    return reader(statement)


def _pairs(statement: _Statement) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Return names and values, and whether they are written in the old form."""
    words = split_words(statement.rest, statement.escape)
    if "=" not in words[0]:
        # the old form: ENV name value with spaces
        name = words[0]
        value = statement.rest[len(name) :].strip()
        if not value:
            raise statement.fail(
                f"{statement.keyword} must have two arguments", f"write {statement.keyword} {name}=value"
            )
        return ((name, value),), True
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise statement.fail(
                f"can't find = in {word!r}: {statement.keyword} takes name=value", "quote values that contain spaces"
            )
        if not name:
            raise statement.fail(f"{statement.keyword} names can not be blank")
        pairs.append((name, value))
    return tuple(pairs), False


def _from(s: _Statement) -> ins.From:
    words = s.rest.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise s.fail("FROM requires either one or three arguments", "write FROM image, or FROM image AS name")
    name = words[2].lower() if len(words) == 3 else None
    if name is not None and not _STAGE_NAME.match(name):
        raise s.fail(
            f"invalid name for build stage: {words[2]!r}",
            "a stage name begins with a letter and holds letters, digits, '-', '_' and '.'",
        )
    return ins.From(s.text, s.line, words[0], name, s.flag("platform"))


def _arg(s: _Statement) -> ins.Arg:
    arguments: list[tuple[str, str | None]] = []
    for word in split_words(s.rest, s.escape):
        name, equals, value = word.partition("=")
        if not name:
            raise s.fail("ARG names can not be blank")
        arguments.append((name, value if equals else None))
    return ins.Arg(s.text, s.line, tuple(arguments))


def _run(s: _Statement) -> ins.Run:
    mounts = tuple(value or "" for name, value in s.flags if name == "mount")
    try:
        sources = tuple(source for written in mounts if (source := mount_source(written)))
    except DockerfileError as error:
        raise s.fail(error.problem, error.hint) from None
    network = s.flag("network")
    if network not in (None, "default", "none", "host"):
        raise s.fail(f"unsupported network mode {network!r}", "--network takes default, none or host")
    security = s.flag("security")
    if security not in (None, "sandbox", "insecure"):
        raise s.fail(f"unsupported security {security!r}", "--security takes sandbox or insecure")
    command = s.command()
    if not command.arguments:
        raise s.fail("RUN requires at least one argument")
    is_insecure = security == "insecure"
    return ins.Run(s.text, s.line, command, mounts, sources, network, s.heredocs, is_insecure=is_insecure)


def _copy(s: _Statement) -> ins.Copy:
    words = s.words()
    if len(words) < 2:
        raise s.fail(
            f"{s.keyword} requires at least two arguments, but only one was provided", "write source … destination"
        )
    if "$" in (s.flag("from") or ""):
        raise s.fail(
            f"--from={s.flag('from')}: --from takes no variables",
            "name the image with FROM image AS name before, and copy from that name",
        )
    return ins.Copy(
        s.text,
        s.line,
        words[:-1],
        words[-1],
        is_add=s.keyword == "ADD",
        from_stage=s.flag("from"),
        chown=s.flag("chown"),
        chmod=s.flag("chmod"),
        parents=bool(s.switch("parents")),
        exclude=tuple(value or "" for name, value in s.flags if name == "exclude"),
        checksum=s.flag("checksum"),
        keep_git_dir=bool(s.switch("keep-git-dir")),
        unpack=s.switch("unpack"),
        is_link=bool(s.switch("link")),
        heredocs=s.heredocs,
    )


def _shell(s: _Statement) -> ins.Shell:
    arguments = s.array(s.rest)
    if not arguments:
        raise s.fail("SHELL requires the arguments to be in JSON form", 'write SHELL ["/bin/bash", "-c"]')
    return ins.Shell(s.text, s.line, arguments)


def _healthcheck(s: _Statement) -> ins.Healthcheck:
    kind, *others = s.rest.split(None, 1)
    rest = others[0] if others else ""
    if kind.upper() == "NONE":
        if rest.strip():
            raise s.fail("HEALTHCHECK NONE takes no arguments")
        return ins.Healthcheck(s.text, s.line, None)
    if kind.upper() != "CMD":
        raise s.fail(
            f"unknown type {kind!r} in HEALTHCHECK", "write HEALTHCHECK [options] CMD command, or HEALTHCHECK NONE"
        )
    if not rest.strip():
        raise s.fail("missing command after HEALTHCHECK CMD")
    array = s.array(rest.strip())
    if array == ():
        raise s.fail("missing command after HEALTHCHECK CMD")
    command = ins.Command((rest.strip(),), True) if array is None else ins.Command(array, False)
    retries = s.flag("retries") or "0"
    if not retries.isdigit():
        raise s.fail(f"HEALTHCHECK --retries must be a whole number, not {retries!r}")
    return ins.Healthcheck(
        s.text,
        s.line,
        command,
        interval_ns=_duration(s, "interval"),
        timeout_ns=_duration(s, "timeout"),
        start_period_ns=_duration(s, "start-period"),
        start_interval_ns=_duration(s, "start-interval"),
        retries=int(retries),
    )


def _duration(s: _Statement, flag: str) -> int:
    written = s.flag(flag)
    if written is None or written == "0":
        return 0
    parts = _DURATION_PART.findall(written)
    if not parts or "".join(number + unit for number, unit in parts) != written:
        raise s.fail(f"HEALTHCHECK --{flag}: invalid duration {written!r}", "write for example 30s, 1m30s or 500ms")
    nanoseconds = round(sum(float(number) * _DURATION_UNITS_NS[unit] for number, unit in parts))
    if 0 < nanoseconds < 10**6:
        raise s.fail(f"HEALTHCHECK --{flag}: {written} is less than 1ms")
    return nanoseconds


def _on_build(s: _Statement) -> ins.OnBuild:
    # kept as text, and read by the build that it is for: that may know instructions that this one does not
    keyword = s.rest.split(None, 1)[0].upper()
    if keyword in _NOT_IN_ONBUILD:
        raise s.fail(f"{keyword} isn't allowed as an ONBUILD trigger")
    bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in s.heredocs)
    return ins.OnBuild(s.text, s.line, s.rest + bodies)


def _volume(s: _Statement) -> ins.VolumeInstruction:
    paths = tuple(path.strip() for path in s.words())
    if not paths:
        raise s.fail("VOLUME requires at least one argument")
    if "" in paths:
        raise s.fail("VOLUME specified can not be an empty string")
    return ins.VolumeInstruction(s.text, s.line, paths)


_READERS: dict[str, Callable[[_Statement], ins.Instruction]] = {
    "FROM": _from,
    "ARG": _arg,
    "ENV": lambda s: ins.Env(s.text, s.line, *_pairs(s)),
    "LABEL": lambda s: ins.Label(s.text, s.line, *_pairs(s)),
    "RUN": _run,
    "COPY": _copy,
    "ADD": _copy,
    "WORKDIR": lambda s: ins.Workdir(s.text, s.line, s.rest),
    "USER": lambda s: ins.User(s.text, s.line, s.rest),
    "EXPOSE": lambda s: ins.Expose(s.text, s.line, tuple(s.rest.split())),
    "VOLUME": _volume,
    "CMD": lambda s: ins.Cmd(s.text, s.line, s.command()),
    "ENTRYPOINT": lambda s: ins.Entrypoint(s.text, s.line, s.command()),
    "SHELL": _shell,
    "STOPSIGNAL": lambda s: ins.StopSignal(s.text, s.line, s.rest),
    "HEALTHCHECK": _healthcheck,
    "MAINTAINER": lambda s: ins.Maintainer(s.text, s.line, s.rest),
    "ONBUILD": _on_build,
}
_MAY_BE_EMPTY = ("RUN", "CMD", "ENTRYPOINT")
_NEEDS = {
    "FROM": "either one or three arguments", "COPY": "at least two arguments", "ADD": "at least two arguments",
    "WORKDIR": "exactly one argument", "USER": "exactly one argument", "STOPSIGNAL": "exactly one argument",
    "MAINTAINER": "exactly one argument",
}  # fmt: skip
