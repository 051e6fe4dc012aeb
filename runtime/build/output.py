"""The text of stages that are built side by side, printed one stage after the other."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from runtime.build import instructions as ins
from runtime.container.logs.files import STDERR, STDOUT

Emit = Callable[[dict[str, Any]], None]

LAST_LINES = 10
"""How many lines of a failed command's output its error repeats."""


def drop(message: dict[str, Any]) -> None:
    """An Emit that drops every message."""


class StageOutput:
    """One stage's part of the stream: shown at once while it is its turn, kept back until then otherwise."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._waiting: list[str] | None = []

    def write(self, text: str) -> None:
        """Show `text`, or keep it until this stage's turn."""
        if not text:
            return
        if self._waiting is None:
            self._emit({"stream": text})
        else:
            self._waiting.append(text)

    def begin_step(self, number: str, instruction: ins.Instruction | ins.From) -> None:
        """Begin the step of `instruction`, the `number` ("3/7") of the build."""
        self.write(f"Step {number} : {instruction.text}\n")

    def begin_triggers(self, count: int) -> None:
        """Say that `count` triggers of the base image come first."""

    def run_container(self) -> None:
        """Say that the step runs in a container now."""

    def configure(self, identity: str, text: str, *, uses_cache: bool) -> None:
        """Say that the step only changes the configuration; `identity` is the digest of all that led there."""

    def write_output(self, text: str, stream: int) -> None:
        """Show what a command wrote to STDOUT or STDERR."""
        self.write(text)

    def use_cache(self) -> None:
        """Say that the step is taken from the cache."""
        self.write(" ---> Using cache\n")

    def report_duration(self, seconds: float) -> None:
        """Say how long the step took."""
        self.write(f" ---> Done in {seconds:.1f}s\n")

    def end_step(self, error: BaseException | None = None, identity: str = "") -> None:
        """End the step; `error` is why it failed, if it did, `identity` the ID of what the stage is now."""

    def end(self) -> None:
        """End the stage."""

    def show(self) -> None:
        """Begin this stage's turn: what was kept back comes first."""
        waiting, self._waiting = self._waiting or [], None
        for text in waiting:
            self.write(text)


class Outputs(Protocol):
    """The outputs of a build's stages, by their indexes."""

    def of(self, index: int) -> StageOutput:
        """Return the output of one stage."""
        ...

    def finish(self, index: int) -> None:
        """Say that a stage is done."""
        ...

    def fail(self, index: int) -> None:
        """Say that a stage failed."""
        ...


class OutputOrder:
    """Gives the stages their turns; `outputs`, by the stages' indexes, are in the order of the Dockerfile."""

    def __init__(self, outputs: Mapping[int, StageOutput]) -> None:
        self._outputs = outputs
        self._unfinished = list(outputs)
        self._finished: set[int] = set()
        self._outputs[self._unfinished[0]].show()

    def of(self, index: int) -> StageOutput:
        """Return the output of one stage."""
        return self._outputs[index]

    def finish(self, index: int) -> None:
        """Say that a stage is done; the next unfinished one is shown."""
        self._outputs[index].end()
        self._finished.add(index)
        while self._unfinished and self._unfinished[0] in self._finished:
            self._unfinished.pop(0)
            if self._unfinished:
                self._outputs[self._unfinished[0]].show()

    def fail(self, index: int) -> None:
        """Show the output of a failing stage at once, also if it is not the next one."""
        self._outputs[index].show()


class CommandOutput:
    """Bytes of a command to text, with its last lines kept for the error message."""

    def __init__(self, output: StageOutput) -> None:
        self._output = output
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {stream: decoder(errors="replace") for stream in (STDOUT, STDERR)}
        self._tail = ""

    def write(self, data: bytes, stream: int) -> None:
        """Pass on a chunk of STDOUT or STDERR, whole characters only."""
        text = self._decoders[stream].decode(data)
        self._tail = (self._tail + text)[-4096:]
        self._output.write_output(text, stream)

    @property
    def last_lines(self) -> list[str]:
        """The last lines that are not blank."""
        return [line.rstrip() for line in self._tail.splitlines() if line.strip()][-LAST_LINES:]
