"""`doctor`: checks what this machine offers."""

from __future__ import annotations

import os
import sys

import typer


def doctor(ctx: typer.Context) -> None:
    """Check what this machine offers; print the cure for what is missing."""
    os.execv(sys.executable, [sys.executable, "-m", "runtime.doctor", *ctx.args])
