"""BuildKit's build checks, by their names: what a Dockerfile is warned of (Docker documentation, "Build checks")."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.build import instructions as ins
from runtime.build.errors import DockerfileError, nearest
from runtime.build.expansion import expand
from runtime.build.options import BuildOptions
from runtime.errors import BadRequestError
from runtime.image.manifest import Platform
from runtime.image.reference import Reference

ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"
"""Build argument that stands for the directive `# check=`."""
_RESERVED = ("context", "scratch")
_WORDS = "apikey|auth|credentials?|key|password|pword|passwd|secret|token"
_SECRET = re.compile(rf"(?:_|^)(?:{_WORDS})(?:_|$)", re.IGNORECASE)
_HARMLESS = re.compile(r"(?:_|^)public(?:_|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Options:
    """What `# check=skip=A,B;error=true` says: the rules that are skipped, and whether any other's warning is an error."""

    skipped: frozenset[str] = frozenset()
    is_error: bool = False

    @classmethod
    def parse(cls, text: str) -> Options:
        """Read the value of the directive. Raises DockerfileError (without a line)."""
        values: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in text.split(";"))):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or name not in ("skip", "error", "experimental"):
                raise DockerfileError(
                    f"invalid check option {part!r}", hint="write # check=skip=RULE,RULE;error=true, or a part of it"
                )
            # the rules that BuildKit calls experimental are not among these
            values[name] = value
        error = values.get("error", "false").lower()
        if error not in ("true", "false", "1", "0"):
            raise DockerfileError(f"invalid check option: error={error}", hint="it is true or false")
        skipped = frozenset(rule.strip() for rule in values.get("skip", "").split(","))
        return cls(skipped, error in ("true", "1"))


@dataclass
class Lint:
    """Collects the warnings of one build, and reports each wanted one once."""

    options: Options
    tell: Callable[[str], object]
    found: dict[tuple[str, str, int], None] = field(default_factory=dict)

    def warn(self, rule: str, message: str, line: int) -> None:
        """Warn of `rule` at `line`."""
        if {rule, "all"} & self.options.skipped or (rule, message, line) in self.found:
            return
        self.found[rule, message, line] = None
        self.tell(f"[Warning] {rule}: {message} (line {line})\n")

    def check(self) -> None:
        """Raise DockerfileError where warnings are errors and there are any."""
        if self.options.is_error and self.found:
            rules = ", ".join(sorted({rule for rule, _, _ in self.found}))
            raise DockerfileError(
                f"lint violation found for rules: {rules}",
                min(line for _, _, line in self.found),
                "mend what the warnings name, or take error=true out of # check=",
            )


def lint_of(dockerfile: ins.Dockerfile, options: BuildOptions, tell: Callable[[str], object]) -> Lint:
    """Return what takes a build's warnings. Raises DockerfileError for a directive that can't be read."""
    written = options.build_args.get(ARGUMENT) or dockerfile.directives.get("check") or ""
    try:
        return Lint(Options.parse(written), tell)
    except DockerfileError as error:
        raise error.in_file(dockerfile.name) from None


def check_file(dockerfile: ins.Dockerfile, arguments: Mapping[str, str], lint: Lint) -> None:
    """Warn of all that shows without a build; `arguments` are those that FROM lines see."""
    for line in dockerfile.empty_lines:
        lint.warn("NoEmptyContinuation", "Empty continuation line", line)
    _check_casing(dockerfile, lint)
    names: set[str] = set()
    for stage in dockerfile.stages:
        _check_from(stage.base, arguments, dockerfile, lint)
        name = stage.base.name
        if name in _RESERVED:
            message = f'Stage name should not use the same name as reserved stage "{name}"'
            lint.warn("ReservedStageName", message, stage.base.line)
        if name and name in names:
            message = f'Duplicate stage name "{name}", stage names should be unique'
            lint.warn("DuplicateStageName", message, stage.base.line)
        names.add(name or "")
        for instruction in stage.instructions:
            if isinstance(instruction, ins.Maintainer):
                message = "Maintainer instruction is deprecated in favor of using label"
                lint.warn("MaintainerDeprecated", message, instruction.line)


def _check_casing(dockerfile: ins.Dockerfile, lint: Lint) -> None:
    """Warn of keywords that are written otherwise than most."""
    every = [one for stage in dockerfile.stages for one in (stage.base, *stage.instructions)]
    words = [(one.text.split(None, 1)[0], one.line) for one in every]
    is_lower = sum(word.islower() for word, _ in words) > sum(word.isupper() for word, _ in words)
    for word, line in words:
        if word != (word.lower() if is_lower else word.upper()):
            wanted = "lowercase" if is_lower else "uppercase"
            message = f"Command '{word}' should match the case of the command majority ({wanted})"
            lint.warn("ConsistentInstructionCasing", message, line)


def _check_from(base: ins.From, arguments: Mapping[str, str], dockerfile: ins.Dockerfile, lint: Lint) -> None:
    words = base.text.split()
    if base.name:
        keyword, joined, name = words[0], words[-2], words[-1]
        if name != name.lower():
            lint.warn("StageNameCasing", f"Stage name '{name}' should be lowercase", base.line)
        # a keyword in mixed case is warned of as such
        if (keyword.isupper() and not joined.isupper()) or (keyword.islower() and not joined.islower()):
            lint.warn("FromAsCasing", f"'{joined}' and '{keyword}' keywords' casing do not match", base.line)
    declared = {name for instruction in dockerfile.arguments for name, _ in instruction.arguments}
    known = {*arguments, *declared}
    for written in filter(None, (base.image, base.platform)):
        for name in _used(written, arguments, dockerfile.escape):
            if name not in known:
                message = f"FROM argument '{name}' is not declared{_meant(name, known, '')}"
                lint.warn("UndefinedArgInFrom", message, base.line)
    defaults = _defaults(dockerfile, arguments)
    if defaults is not None and not _is_image(base.image, defaults, dockerfile.escape):
        message = f"Default value for ARG {base.image} results in empty or invalid base image name"
        lint.warn("InvalidDefaultArgInFrom", message, base.line)
    if base.platform:
        _check_platform(base, arguments, dockerfile.escape, lint)


def _check_platform(base: ins.From, arguments: Mapping[str, str], escape: str, lint: Lint) -> None:
    assert base.platform is not None, "it has one"
    used = _used(base.platform, arguments, escape)
    if used == ["TARGETPLATFORM"] and expand(base.platform, arguments, escape) == arguments.get("TARGETPLATFORM"):
        message = f"Setting platform to predefined {base.platform} in FROM is redundant as this is the default behavior"
        lint.warn("RedundantTargetPlatform", message, base.line)
    if used:
        return
    try:
        platform = Platform.parse(base.platform)
    except BadRequestError:  # reported where it is used
        return
    if platform.os not in (base.name or "") and platform.architecture not in (base.name or ""):
        message = f'FROM --platform flag should not use constant value "{base.platform}"'
        lint.warn("FromPlatformFlagConstDisallowed", message, base.line)


def _used(word: str, variables: Mapping[str, str], escape: str) -> list[str]:
    seen: list[str] = []
    try:
        expand(word, variables, escape, seen.append)
    except DockerfileError:  # reported where it is used
        return []
    return seen


def _defaults(dockerfile: ins.Dockerfile, arguments: Mapping[str, str]) -> dict[str, str] | None:
    """Return the arguments that FROM sees where none is given, None where they can't be read."""
    declared = {name for instruction in dockerfile.arguments for name, _ in instruction.arguments}
    found = {name: value for name, value in arguments.items() if name not in declared}
    for instruction in dockerfile.arguments:
        for name, default in instruction.arguments:
            if default is not None:
                try:
                    found[name] = expand(default, found, dockerfile.escape)
                except DockerfileError:
                    return None
    return found


def _is_image(word: str, variables: Mapping[str, str], escape: str) -> bool:
    try:
        Reference.parse(expand(word, variables, escape))
    except DockerfileError:
        return True
    except BadRequestError:
        return False
    return True


def _meant(name: str, known: Sequence[str] | set[str], sign: str) -> str:
    found = nearest(name, known)
    return f" (did you mean {sign}{found}?)" if found else ""


@dataclass
class StageLint:
    """Warns of what one stage does, instruction by instruction; `has_workdir` says that it has an absolute directory."""

    lint: Lint
    has_workdir: bool = False
    _last: dict[str, int] = field(default_factory=dict)

    def look_at(self, instruction: ins.Instruction, has_shell: bool) -> None:
        """Warn of what `instruction` does; `has_shell` says that the image names a shell of its own."""
        keyword, written = type(instruction).__name__.upper(), instruction.text.split(None, 1)[0]
        line = instruction.line
        if isinstance(instruction, ins.Env | ins.Label) and instruction.is_old_form:
            message = f'"{written} key=value" should be used instead of legacy "{written} key value" format'
            self.lint.warn("LegacyKeyValueFormat", message, line)
        if isinstance(instruction, ins.Env | ins.Arg):
            pairs = instruction.variables if isinstance(instruction, ins.Env) else instruction.arguments
            for name, _ in pairs:
                if _SECRET.search(name) and not _HARMLESS.search(name):
                    message = f'Do not use ARG or ENV instructions for sensitive data ({keyword} "{name}")'
                    self.lint.warn("SecretsUsedInArgOrEnv", message, line)
        if isinstance(instruction, ins.Cmd | ins.Entrypoint) and instruction.command.shell_form and not has_shell:
            message = f"JSON arguments recommended for {written} to prevent unintended behavior related to OS signals"
            self.lint.warn("JSONArgsRecommended", message, line)
        if isinstance(instruction, ins.Cmd | ins.Entrypoint | ins.Healthcheck):
            if keyword in self._last:
                message = (
                    f"Multiple {written} instructions should not be used in the same stage because only the last one "
                    "will be used"
                )
                self.lint.warn("MultipleInstructionsDisallowed", message, self._last[keyword])
            self._last[keyword] = line
        if isinstance(instruction, ins.Expose):
            self._look_at_ports(instruction)

    def _look_at_ports(self, instruction: ins.Expose) -> None:
        for port in instruction.ports:
            if ":" in port and "$" not in port:
                message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
                self.lint.warn("ExposeInvalidFormat", message, instruction.line)
            protocol = port.partition("/")[2]
            if protocol != protocol.lower() and "$" not in protocol:
                message = f"Defined protocol '{port}' in EXPOSE instruction should be lowercase"
                self.lint.warn("ExposeProtoCasing", message, instruction.line)

    def look_at_directory(self, path: str, line: int) -> None:
        """Warn of a WORKDIR, expanded."""
        if not self.has_workdir and not path.startswith("/"):
            message = f'Relative workdir "{path}" can have unexpected results if the base image changes'
            self.lint.warn("WorkdirRelativePath", message, line)
        self.has_workdir = True

    def look_at_variable(self, name: str, known: Mapping[str, str], declared: Sequence[str], line: int) -> None:
        """Warn of a variable that a word uses, unless it is among `known` or was `declared`."""
        if name not in known and name not in declared:
            message = f"Usage of undefined variable '${name}'{_meant(name, set(known), '$')}"
            self.lint.warn("UndefinedVar", message, line)
