"""What a build does, as BuildKit reports it: vertexes that begin and end, their output, and warnings.

A client that asks for the status of a build gets everything from its beginning, however late it asks.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio

from runtime.build import instructions as ins
from runtime.build.graph import PlannedStage
from runtime.build.output import StageOutput
from runtime.buildkit.schema import message
from runtime.container.logs.files import STDOUT

CONTROL = "moby.buildkit.v1"
_WARNING = re.compile(r"\[Warning\] (?P<rule>[A-Z]\w+): (?P<text>.*) \(line (?P<line>\d+)\)\n", re.DOTALL)
RULES = "https://docs.docker.com/go/dockerfile/rule/"
LONGEST_LOG_BYTES = 2 << 20
"""The most output of a step that is passed on, as with BuildKit."""
AMONG_STEPS = (ins.Run, ins.Copy, ins.Workdir)
"""Instructions that are vertexes of their own; the others only change the configuration."""


def timestamp(time_ns: int | None = None) -> Any:
    """Return a google.protobuf.Timestamp, of now where no time is given."""
    time_ns = time.time_ns() if time_ns is None else time_ns
    return message("google.protobuf.Timestamp")(seconds=time_ns // 10**9, nanos=time_ns % 10**9)


class Progress:
    """The status of one build."""

    def __init__(self) -> None:
        self._events: list[Any] = []
        self._changed = anyio.Event()
        self._is_over = False
        self._count = 0
        self.cached = self.completed = self.warnings = 0
        self.definition = ""
        """The digest of the vertex that loads the Dockerfile, which warnings are about."""
        self.response = message(f"{CONTROL}.StatusResponse")

    @property
    def total(self) -> int:
        """How many vertexes have begun."""
        return self._count

    def send(self, event: Any) -> None:
        """Send a StatusResponse to all clients."""
        self._events.append(event)
        self._wake()

    def finish(self) -> None:
        """Say that nothing more comes."""
        self._is_over = True
        self._wake()

    def forget(self) -> None:
        """Forget the events; the numbers stay."""
        self._events.clear()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def events(self) -> AsyncIterator[Any]:
        """Yield every StatusResponse, until the build is over."""
        sent = 0
        while True:
            while sent < len(self._events):
                together = self.response()
                for event in self._events[sent:]:
                    together.MergeFrom(event)
                sent = len(self._events)
                yield together
            if self._is_over:
                return
            await self._changed.wait()

    def vertex(self, name: str, inputs: Sequence[str] = ()) -> Vertex:
        """Begin a vertex."""
        self._count += 1
        digest = "sha256:" + hashlib.sha256(f"{id(self)}/{self._count}/{name}".encode()).hexdigest()
        return Vertex(self, digest, name, inputs)

    def warn(self, rule: str, text: str, line: int, file: str, content: bytes) -> None:
        """Send a warning of a build check."""
        self.warnings += 1
        update = self.response()
        shown = f"{rule}: {text} (line {line})"
        warning = update.warnings.add(
            vertex=self.definition, level=1, short=shown.encode(), url=f"{RULES}{_kebab(rule)}/"
        )
        warning.info.filename = file
        warning.info.data = content
        _add_range(warning.ranges, line)
        self.send(update)


def _kebab(rule: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", rule).lower()


def _add_range(ranges: Any, line: int) -> None:
    added = ranges.add()
    added.start.line = line
    added.end.line = line


class Vertex:
    """One step of a build; a context manager that ends it."""

    def __init__(self, progress: Progress, digest: str, name: str, inputs: Sequence[str]) -> None:
        self._progress = progress
        self.digest = digest
        self._name = name
        self._inputs = list(inputs)
        self._started = timestamp()
        self._written = 0
        self.is_cached = False
        self._has_ended = False
        self._report()

    def _report(self, **more: Any) -> None:
        update = self._progress.response()
        vertex = update.vertexes.add(
            digest=self.digest, inputs=self._inputs, name=self._name, cached=self.is_cached, **more
        )
        vertex.started.CopyFrom(self._started)
        if "error" in more or self._has_ended:
            vertex.completed.CopyFrom(timestamp())
        self._progress.send(update)

    def write(self, text: str, stream: int = STDOUT) -> None:
        """Send output of the step, up to a limit: a client that asks for the status of a build gets all of it."""
        if self._written > LONGEST_LOG_BYTES:
            return
        self._written += len(text)
        if self._written > LONGEST_LOG_BYTES:
            text += f"\n[output clipped, log limit {LONGEST_LOG_BYTES >> 20} MiB reached]\n"
        update = self._progress.response()
        log = update.logs.add(vertex=self.digest, stream=stream, msg=text.encode(errors="surrogateescape"))
        log.timestamp.CopyFrom(timestamp())
        self._progress.send(update)

    def status(self, id: str, current: int, total: int, *, is_done: bool = False) -> None:
        """Send how far a part of the step is, in bytes."""
        update = self._progress.response()
        status = update.statuses.add(ID=id, vertex=self.digest, name=id, current=current, total=total)
        status.timestamp.CopyFrom(timestamp())
        status.started.CopyFrom(self._started)
        if is_done:
            status.completed.CopyFrom(timestamp())
        self._progress.send(update)

    def end(self, error: BaseException | None = None) -> None:
        """End the step; `error` is why it failed, if it did."""
        if self._has_ended:
            return
        self._has_ended = True
        self._progress.completed += 1
        self._progress.cached += self.is_cached
        if error is None:
            self._report()
        else:
            self._report(error=str(error))

    def __enter__(self) -> Vertex:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.end(error)


class Messages:
    """Takes a builder's messages, of which warnings of build checks are passed on."""

    def __init__(self, progress: Progress, file: str, content: bytes) -> None:
        self._progress = progress
        self._file = file
        self._content = content

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Take one of Docker's JSON messages."""
        found = _WARNING.fullmatch(report.get("stream") or "")
        if found is not None:
            self._progress.warn(found["rule"], found["text"], int(found["line"]), self._file, self._content)


class VertexOutputs:
    """The outputs of a build's stages, each of which reports its steps as vertexes (see `runtime.build.output.Outputs`)."""

    def __init__(self, progress: Progress, planned: Sequence[PlannedStage]) -> None:
        self._outputs: dict[int, _VertexOutput] = {}
        for one in planned:
            stage = one.stage
            total = 1 + sum(isinstance(each, AMONG_STEPS) for each in stage.instructions)
            name = f"{stage.base.name or f'stage-{stage.index}'} " if stage.base.name or len(planned) > 1 else ""
            inputs = [] if one.base_stage is None else [self._outputs[one.base_stage]]
            self._outputs[stage.index] = _VertexOutput(progress, name, total, inputs)

    def of(self, index: int) -> StageOutput:
        """Return the output of one stage."""
        return self._outputs[index]

    def finish(self, index: int) -> None:
        """Say that a stage is done."""

    def fail(self, index: int) -> None:
        """Say that a stage failed."""


class _VertexOutput(StageOutput):
    def __init__(self, progress: Progress, name: str, total: int, inputs: Sequence[_VertexOutput]) -> None:
        super().__init__(lambda _: None)
        self._progress = progress
        self._name = name
        self._total = total
        self._number = 0
        self._bases = inputs
        self._vertex: Vertex | None = None
        self.last = ""

    def write(self, text: str) -> None:
        if self._vertex is not None:
            self._vertex.write(text)

    def begin_step(self, number: str, instruction: ins.Instruction | ins.From) -> None:
        if not isinstance(instruction, (*AMONG_STEPS, ins.From)):
            return
        self._number += 1
        number = str(min(self._number, self._total)).rjust(len(str(self._total)))
        shown = f"{self._name}{number}/{self._total}"
        text = " ".join(instruction.text.split())
        inputs = [self.last] if self.last else [one.last for one in self._bases if one.last]
        self._vertex = self._progress.vertex(f"[{shown}] {text}", inputs)

    def report_duration(self, seconds: float) -> None:
        """Say nothing: clients measure a vertex themselves."""

    def use_cache(self) -> None:
        if self._vertex is not None:
            self._vertex.is_cached = True

    def write_output(self, text: str, stream: int) -> None:
        if self._vertex is not None:
            self._vertex.write(text, stream)

    def end_step(self, error: BaseException | None = None, identity: str = "") -> None:
        if self._vertex is not None:
            self._vertex.end(error)
            self.last = self._vertex.digest
            self._vertex = None
