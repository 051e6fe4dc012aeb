"""What a use case reports while it works. The command line draws these events; other callers may count or log them.

They are NamedTuples: dataclasses take six times as long to define, some 7 ms in all, which every `up` would pay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class WorkBegan(NamedTuple):
    """The steps that follow belong together: a display may draw them as one block."""


class WorkEnded(NamedTuple):
    """No more steps of this block follow."""


class StepBegan(NamedTuple):
    """Work on one object began; `kind` is a value of `plan.operations.Kind` or the name of a command ("push")."""

    kind: str
    name: str


class StepEnded(NamedTuple):
    """Work on one object succeeded."""

    kind: str
    name: str


class StepFailed(NamedTuple):
    """Work on one object failed; `state` says how in a word or two."""

    kind: str
    name: str
    state: str = "Error"


class StepOutput(NamedTuple):
    """A line that a step printed, for example a build of the image `name` for `service`."""

    kind: str
    name: str
    service: str
    line: str


class StepMeasured(NamedTuple):
    """How far a step is: so many of its parts (layers, steps), and of its bytes where it moves some, at what speed.

    `trouble` is what it has to do again, and why.
    """

    kind: str
    name: str
    done: int
    total: int
    parts: str
    current_bytes: int = 0
    total_bytes: int = 0
    bytes_per_s: float = 0.0
    trouble: str = ""


class StateChanged(NamedTuple):
    """An object is in a new state; `subject` is its kind as users read it ("Container", "Image")."""

    subject: str
    name: str
    state: str


class Note(NamedTuple):
    """A line about the work as a whole."""

    text: str


class Planned(NamedTuple):
    """What is about to change and why: `subject` as the files call it, `action` in a word ("recreate")."""

    subject: str
    reason: str
    action: str


class Advised(NamedTuple):
    """Something that works, and how it works better."""

    text: str


class HookOutput(NamedTuple):
    """A line that a hook of `phase` ("post_start") printed in a container."""

    container: str
    phase: str
    line: str


class Warned(NamedTuple):
    """Something the user should know, which stops nothing."""

    text: str


class ContainerExited(NamedTuple):
    """A container that was waited for exited."""

    name: str
    exit_code: int


class Attached(NamedTuple):
    """The output of these containers is shown from now on."""

    names: tuple[str, ...]


class Aborting(NamedTuple):
    """A container exited, and because of that the whole stack is stopped."""

    name: str


class WatchReport(NamedTuple):
    """What watching files does right now."""

    text: str


class HookPrinted(NamedTuple):
    """A line that a command printed which watching ran in a container."""

    line: str


class Finished(NamedTuple):
    """Work that may have taken long has ended, after `took_s` seconds: a person may have gone on with something else."""

    text: str
    took_s: float


ProgressEvent = (
    WorkBegan
    | WorkEnded
    | StepBegan
    | StepEnded
    | StepFailed
    | StepOutput
    | StepMeasured
    | StateChanged
    | Note
    | Planned
    | Advised
    | HookOutput
)
Event = ProgressEvent | Warned | ContainerExited | Attached | Aborting | WatchReport | HookPrinted | Finished
Emit = Callable[[Event], None]
"""Receives events, also from several threads at once."""


def ignore(event: Event) -> None:
    """Receive an event and do nothing with it."""


@contextmanager
def work(emit: Emit) -> Iterator[None]:
    """Emit where a block of steps begins and ends."""
    emit(WorkBegan())
    try:
        yield
    finally:
        emit(WorkEnded())


@contextmanager
def step(emit: Emit, kind: str, name: str) -> Iterator[None]:
    """Emit that a step begins, and how it ends."""
    emit(StepBegan(kind, name))
    try:
        yield
    except BaseException:
        emit(StepFailed(kind, name))
        raise
    emit(StepEnded(kind, name))
