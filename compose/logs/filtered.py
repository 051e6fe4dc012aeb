"""A sink that passes on only the lines that a filter keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from compose.logs.filtering import LineFilter
from compose.logs.sink import LogSink
from compose.logs.stamped import Lines, WholeLines


class FilteredSink:
    """Passes what `keeps` shows on to `sink`; that a container exited is no line, and is always passed on."""

    def __init__(self, sink: LogSink, keeps: LineFilter) -> None:
        self._sink, self._keeps = sink, keeps

    def open(self, names: Sequence[str]) -> None:
        """Prepare for output of the containers `names`."""
        self._sink.open(names)

    def add(self, name: str) -> None:
        """Prepare for output of one more container."""
        self._sink.add(name)

    def write_lines(self, name: str, lines: Lines, *, flushes: bool = True) -> None:
        """Pass on the lines that are shown."""
        if text := self._keeps.keep(lines.text, (name, lines.stream)):
            self._sink.write_lines(name, lines._replace(text=text), flushes=flushes)

    def write_frames(self, name: str, frames: Iterable[tuple[int, bytes]]) -> None:
        """Pass on the lines that are shown, as whole ones."""
        self._sink.write_frames(name, self._whole(name, frames))

    def _whole(self, name: str, frames: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        lines = WholeLines()
        for stream, data in frames:
            if text := self._keeps.keep(lines.feed(stream, data), (name, stream)):
                yield stream, text
        for stream, data in lines.rest():
            if text := self._keeps.keep(data + b"\n", (name, stream)):
                yield stream, text

    def flush(self) -> None:
        """Let readers see what was taken."""
        self._sink.flush()

    def exited(self, name: str, exit_code: int, *, is_restarting: bool, note: str = "") -> None:
        """Pass on that container `name` exited."""
        self._sink.exited(name, exit_code, is_restarting=is_restarting, note=note)

    def mark(self, name: str, text: str) -> None:
        """Pass on what happened to container `name`."""
        self._sink.mark(name, text)
