"""`ls`: lists projects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from compose.cli.context import Globals
from compose.cli.options import Format, OnlyIds, check_format
from runtime.errors import SkiffError

COLUMNS = (("NAME", "Name"), ("STATUS", "Status"), ("CONFIG FILES", "ConfigFiles"))


def ls(
    ctx: typer.Context,
    all: Annotated[bool, typer.Option("--all", "-a", help="Stopped projects too")] = False,
    format: Format = "",
    quiet: OnlyIds = False,
    filter: Annotated[list[str] | None, typer.Option("--filter", help="name=PATTERN")] = None,
) -> None:
    """List projects."""
    from compose.stack.ps import projects

    common: Globals = ctx.obj
    check_format(format)
    patterns = [_pattern(one) for one in filter or ()]
    found = [each for each in projects(common.context(), all=all) if _matches(each.name, patterns)]
    if quiet:
        for project in found:
            print(project.name)
        return
    from compose.render.template import formatted

    rows = [
        {
            "Name": project.name,
            "Status": ", ".join(f"{state}({count})" for state, count in project.states.items()),
            "ConfigFiles": project.config_files,
        }
        for project in found
    ]
    if text := formatted(format, rows, COLUMNS, as_list=True):
        print(text)


def _pattern(text: str) -> str:
    key, _, value = text.partition("=")
    if key != "name":
        raise SkiffError(f'invalid filter "{text}"', "projects are filtered by name=PATTERN")
    return value


def _matches(name: str, patterns: Sequence[str]) -> bool:
    try:
        return not patterns or any(re.search(pattern, name) for pattern in patterns)
    except re.error as error:
        raise SkiffError(f"--filter: {error}", "name= takes a regular expression") from None
