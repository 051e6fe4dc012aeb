"""`oci`: runs containers from OCI bundles."""

from __future__ import annotations

import os
import sys

import typer


def oci(ctx: typer.Context) -> None:
    """Run containers from OCI bundles: a runtime with the command line of runc and crun."""
    os.execv(sys.executable, [sys.executable, "-m", "runtime.oci.program", *ctx.args])
