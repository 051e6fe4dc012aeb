"""The text of stages that are built side by side, printed one stage after the other."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any, Protocol

from runtime.build import instructions as ins

Emit = Callable[[dict[str, Any]], None]

LAST_LINES = 10
"""How many lines of a failed command's output its error repeats."""


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

    def begin_step(self, number: str, instruction: ins.Instruction) -> None:
        """Begin the step of `instruction`, the `number` ("3/7") of the build."""
        self.write(f"Step {number} : {instruction.text}\n")

    def use_cache(self) -> None:
        """Say that the step is taken from the cache."""
        self.write(" ---> Using cache\n")

    def tell_duration(self, seconds: float) -> None:
        """Say how long the step took."""
        self.write(f" ---> Done in {seconds:.1f}s\n")

    def end_step(self, error: BaseException | None = None) -> None:
        """End the step; `error` is why it failed, if it did."""

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
    """Gives the stages their turns, in the order of the Dockerfile."""

    def __init__(self, emit: Emit, indexes: list[int]) -> None:
        self._outputs = {index: StageOutput(emit) for index in indexes}
        self._unfinished = list(indexes)
        self._finished: set[int] = set()
        self._outputs[indexes[0]].show()

    def of(self, index: int) -> StageOutput:
        """Return the output of one stage."""
        return self._outputs[index]

    def finish(self, index: int) -> None:
        """Say that a stage is done; the next unfinished one is shown."""
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
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._tail = ""

    def write(self, data: bytes) -> None:
        """Pass on a chunk, whole characters only."""
        text = self._decoder.decode(data)
        self._tail = (self._tail + text)[-4096:]
        self._output.write(text)

    @property
    def last_lines(self) -> list[str]:
        """The last lines that are not blank."""
        return [line.rstrip() for line in self._tail.splitlines() if line.strip()][-LAST_LINES:]
