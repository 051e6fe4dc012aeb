"""`version`: shows Skiff's version."""

from __future__ import annotations

from typing import Annotated

import typer

from compose.go_json import go_json
from runtime.errors import SkiffError
from runtime.version import version as skiff_version


def version(
    ctx: typer.Context,
    short: Annotated[bool, typer.Option("--short", help="Only the number")] = False,
    format: Annotated[str, typer.Option("--format", "-f", help="pretty or json")] = "pretty",
) -> None:
    """Show the version."""
    if format not in ("pretty", "json", ""):
        raise SkiffError(f'--format: "{format}" is not known', "write pretty or json")
    if short:
        print(skiff_version())
    else:
        print(go_json({"version": skiff_version()}) if format == "json" else version_line())


def version_line() -> str:
    """Return what `version` prints."""
    return f"Skiff version {skiff_version()}"
