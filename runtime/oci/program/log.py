"""Warnings and errors: to standard error, and to the file of --log."""

from __future__ import annotations

import contextlib
import json
import os
import time


class Log:
    """Writes warnings and errors to standard error and `file`, there as lines of text or JSON."""

    def __init__(self, file: str = "", form: str = "text") -> None:
        self._file = file
        self._form = form

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
        if self._file:
            entry = {"level": level, "msg": message, "time": now}
            if self._form == "json":
                line = json.dumps(entry)
            else:
                line = f"time={json.dumps(now)} level={level} msg={json.dumps(message)}"
            with open(self._file, "a") as file:
                file.write(line + "\n")
