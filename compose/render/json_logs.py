"""Logs as JSON: an object a line, for programs."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence

from compose.logs.stamped import Lines

STREAMS = ("stdin", "stdout", "stderr")


class JsonLogPrinter:
    """Writes each line of containers as an object: container, stream, time, and line, or what a mark says as event.

    Bytes that are no UTF-8 become U+FFFD. Safe from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def open(self, names: Sequence[str]) -> None:
        """Prepare for nothing: each object names its container."""

    def add(self, name: str) -> None:
        """Prepare for nothing."""

    def write_lines(self, name: str, lines: Lines, *, flushes: bool = True) -> None:
        """Write an object for each line."""
        about = {"container": name, "stream": STREAMS[lines.stream], "time": lines.stamp.decode()}
        texts = lines.text.decode(errors="replace").removesuffix("\n").split("\n")
        self._put([{**about, "line": text.removesuffix("\r")} for text in texts], flushes=flushes)

    def write_frames(self, name: str, frames: Iterable[tuple[int, bytes]]) -> None:
        """Write nothing: what has no times is not asked for."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what was not flushed."""
        with self._lock:
            sys.stdout.flush()

    def exited(self, name: str, exit_code: int, *, is_restarting: bool, note: str = "") -> None:
        """Write that container `name` exited."""
        about = {"container": name, "event": "exited", "exitCode": exit_code, "restarting": is_restarting}
        self._put([about | ({"note": note} if note else {})])

    def mark(self, name: str, text: str) -> None:
        """Write what happened to container `name`."""
        self._put([{"container": name, "event": text}])

    def _put(self, documents: Sequence[Mapping[str, object]], *, flushes: bool = True) -> None:
        text = "".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in documents)
        with self._lock:
            sys.stdout.write(text)
            if flushes:
                sys.stdout.flush()
