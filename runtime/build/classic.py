"""The stream of `POST /build` as dockerd's classic builder prints it: docker-py and older tools read the image's ID there.

    Step 2/3 : RUN make              what begins; the ARGs before the first FROM count, too
     ---> Using cache                or
     ---> Running in 3649d3436d91    for what that builder runs in a container: all but FROM, COPY and ADD
    …                                output, that to standard error in red
     ---> Removed intermediate container 3649d3436d91
     ---> e7444beadae4               what the stage is now

Here only RUN has a container, and only the last step has an image: the other IDs are digests of all that led there.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence

from runtime.build import instructions as ins
from runtime.build.errors import DockerfileError
from runtime.build.graph import PlannedStage
from runtime.build.options import BuildOptions
from runtime.build.output import Emit, OutputOrder, StageOutput
from runtime.container.logs.files import STDERR
from runtime.errors import BadRequestError, SkiffError

RED, PLAIN = "\x1b[91m", "\x1b[0m"
TRIGGER = "ONBUILD"
NO_STAGE = "no build stage in current context"
_PLACE = re.compile(r"\S+?:\d+: ")
_MISSING = re.compile(r"'(?P<path>[^']+)' not found in (?P<where>.*)", re.DOTALL)

IsKnown = Callable[[str, str], bool]
"""Whether a step that only changes the configuration was done before, by its digest and text; it is remembered."""


class ClassicOutputs(OutputOrder):
    """The outputs of a build's stages, one stage after the other (see `runtime.build.output.Outputs`)."""

    def __init__(
        self,
        emit: Emit,
        dockerfile: ins.Dockerfile,
        options: BuildOptions,
        is_known: IsKnown,
        planned: Sequence[PlannedStage],
        target: int,
    ) -> None:
        self.total = sum(1 + len(one.stage.instructions) for one in planned)
        self.total += len(dockerfile.arguments) + bool(options.labels)
        number = 0
        for argument in dockerfile.arguments:
            number += 1
            for text in (f"Step {number}/{self.total} : {argument.text}", "\n"):
                emit({"stream": text})
        stages = {}
        for one in planned:
            stages[one.stage.index] = ClassicStage(
                emit, number, self.total, options, is_known, is_target=one.stage.index == target
            )
            number += 1 + len(one.stage.instructions)
        super().__init__(stages)


class ClassicStage(StageOutput):
    """One stage's part of the stream; `number` steps of the build's `total` stand before it."""

    def __init__(
        self, emit: Emit, number: int, total: int, options: BuildOptions, is_known: IsKnown, *, is_target: bool
    ) -> None:
        super().__init__(emit)
        self._number = number
        self._total = total
        self._options = options
        self._is_known = is_known
        self._is_target = is_target
        self._container = ""
        self._identity: str | None = None

    def begin_step(self, number: str, instruction: ins.Instruction | ins.From) -> None:
        """Begin a step; a trigger of the base image has no number."""
        if number == TRIGGER:
            return
        self._show_identity()
        self._number += 1
        self.write(f"Step {self._number}/{self._total} : {instruction.text}")
        self.write("\n")

    def begin_triggers(self, count: int) -> None:
        """Say how many triggers of the base image come first."""
        self._identity = None
        self.write(f"# Executing {count} build trigger")
        if count > 1:
            self.write("s")
        self.write("\n")

    def run_container(self) -> None:
        """Say in which container the step runs."""
        self._container = secrets.token_hex(6)
        self.write(f" ---> Running in {self._container}\n")

    def configure(self, identity: str, text: str, *, uses_cache: bool) -> None:
        """Say of a step that only changes the configuration whether it was done before."""
        if self._is_known(identity, text) and uses_cache:
            self.use_cache()
        else:
            self.run_container()

    def write_output(self, text: str, stream: int) -> None:
        """Show output of a command."""
        self.write(f"{RED}{text}{PLAIN}" if stream == STDERR and text else text)

    def report_duration(self, seconds: float) -> None:
        """Say nothing of it."""

    def end_step(self, error: BaseException | None = None, identity: str = "") -> None:
        """End the step, after which the stage is `identity`."""
        if self._container and (self._options.removes_failed if error else self._options.removes):
            self.write(f" ---> Removed intermediate container {self._container}\n")
        self._container = ""
        self._identity = identity if error is None else None

    def end(self) -> None:
        """End the stage; the target's last ID is the image's, which is not there yet."""
        if not self._is_target or self._options.labels:
            self._show_identity()

    def _show_identity(self) -> None:
        if self._identity is not None:
            self.write(f" ---> {short(self._identity)}\n")
        self._identity = None


def short(identity: str) -> str:
    """Return an ID as it is shown."""
    return identity.removeprefix("sha256:")[:12]


def ending(options: BuildOptions, outputs: ClassicOutputs, image_id: str) -> list[str]:
    """Return what ends the last step once the image is there: with labels of the request, a step that sets them."""
    if not options.labels:
        return [f" ---> {short(image_id)}\n"]
    container = secrets.token_hex(6)
    labels = " ".join(f"{name}={value}" for name, value in sorted(options.labels.items()))
    removed = [f" ---> Removed intermediate container {container}\n"] if options.removes else []
    text = f"Step {outputs.total}/{outputs.total} : LABEL {labels}"
    return [text, "\n", f" ---> Running in {container}\n", *removed, f" ---> {short(image_id)}\n"]


def reworded(error: SkiffError) -> SkiffError:
    """Return an error of a step as that builder says it; where it happened becomes part of the hint."""
    place = _PLACE.match(error.message)
    where = place.group().removesuffix(": ") if place else ""
    message = error.message[place.end() :] if place else error.message
    missing = _MISSING.fullmatch(message)
    if missing is not None:
        stat = f"stat {missing['path'].lstrip('/')}: file does not exist"
        if missing["where"] == "the build context":
            stat = f"file not found in build context or excluded by .dockerignore: {stat}"
        message = f"COPY failed: {stat}"
    return SkiffError(message, ": ".join(filter(None, (where, error.hint))) or None)


def unreadable(error: BadRequestError) -> BadRequestError:
    """Return an error of reading the request as that builder says it."""
    if not isinstance(error, DockerfileError):
        return error
    is_of_line = error.line and error.problem != NO_STAGE
    place = f"dockerfile parse error on line {error.line}: " if is_of_line else ""
    return BadRequestError(place + error.problem, error.hint)
