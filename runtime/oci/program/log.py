"""Warnings and errors: to standard error, and to the file of --log."""

from __future__ import annotations

import contextlib
import json
import os
import time

from runtime.oci.program.errors import ProgramError


class Log:
    """Writes warnings and errors to standard error and `file`, there as lines of text or JSON.

    Raises ProgramError if the file can't be opened for writing.
    """

    def __init__(self, file: str = "", form: str = "text") -> None:
        self._form = form
        self._file = -1
        if file:
            # a FIFO without a reader must not hold us up, and the container must not inherit the descriptor
            scheme, colon, rest = file.partition(":")
            if colon and scheme in ("journald", "syslog"):
                raise ProgramError(
                    f"--log {file}: only a file is supported", "--log PATH, and read it into the journal"
                )
            if colon and scheme == "file":  # as crun's
                file = rest
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            try:
                self._file = os.open(file, flags, 0o644)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ProgramError(f"--log {file}: {reason}", "name a file that can be written") from error

    def warning(self, message: str) -> None:
        """Write a warning."""
        self._write("warning", message)

    def error(self, message: str) -> None:
        """Write why the command failed."""
        self._write("error", message)

    def _write(self, level: str, message: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = f"skiff oci: {message}" if level == "error" else f"skiff oci: {level}: {message}"
        # standard error may be closed
        with contextlib.suppress(OSError):
            os.write(2, (text + "\n").encode())
        if self._file >= 0:
            entry = {"level": level, "msg": message, "time": now}
            if self._form == "json":
                line = json.dumps(entry)
            else:
                line = f"time={json.dumps(now)} level={level} msg={json.dumps(message)}"
            with contextlib.suppress(OSError):
                os.write(self._file, (line + "\n").encode())
