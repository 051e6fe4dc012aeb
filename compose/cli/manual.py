"""Writes the manual pages, from what the commands' help says: `python -m compose.cli.manual DIRECTORY` (man-pages(7))."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from compose.cli.examples import COMMANDS, PROGRAM, Notes


def pages() -> Iterator[tuple[str, str]]:
    """Yield the file name and text of each page: of the program, of each command, and of each command of a group."""
    from compose.cli.main import make_group

    root = make_group()
    ctx = click.Context(root, info_name="skiff")
    commands = [(name, root.commands[name]) for name in root.commands if not root.commands[name].hidden]
    listed = "".join(
        f".TP\n\\fBskiff\\-{_roff(name)}\\fR(1)\n{_roff(_summary(command))}\n" for name, command in commands
    )
    yield "skiff.1", _page(ctx, root, "skiff", PROGRAM, f".SH COMMANDS\n{listed}")
    for name, command in commands:
        if name == "oci":  # a program of its own, with the flags of runc
            continue
        inner = click.Context(command, info_name=name, parent=ctx)
        rest = "".join(_members(inner, command)) if isinstance(command, click.Group) else ""
        yield f"skiff-{name}.1", _page(inner, command, f"skiff-{name}", COMMANDS.get(name, Notes()), rest)


def write(folder: Path) -> None:
    """Write all pages into `folder`; pages of commands that are no more are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("skiff*.1"):
        old.unlink()
    for name, text in pages():
        (folder / name).write_text(text)


def _page(ctx: click.Context, command: Any, title: str, notes: Notes, rest: str) -> str:
    synopsis = " ".join(command.collect_usage_pieces(ctx))
    others = "" if title == "skiff" else ".SH SEE ALSO\n\\fBskiff\\fR(1)\n"
    return (
        f'.TH {title.upper()} 1 "" "Skiff" "User Commands"\n'
        f".SH NAME\n{_roff(title)} \\- {_roff(_summary(command))}\n"
        f".SH SYNOPSIS\n\\fB{_roff(ctx.command_path)}\\fR {_roff(synopsis)}\n"
        f".SH DESCRIPTION\n{_description(command)}"
        f"{_flags(command, ctx, '.SH OPTIONS')}{rest}{_notes(notes)}{others}"
    )


def _members(ctx: click.Context, group: click.Group) -> Iterator[str]:
    yield ".SH COMMANDS\n"
    for name, command in group.commands.items():
        if command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=ctx)
        synopsis = " ".join(command.collect_usage_pieces(inner))
        yield f".SS {_roff(f'{inner.command_path} {synopsis}'.strip())}\n{_description(command)}"
        yield _flags(command, inner, "")
        if isinstance(command, click.Group):
            yield from _members(inner, command)


def _summary(command: Any) -> str:
    text = (command.help or "").strip().partition("\n")[0].rstrip(".")
    return text[:1].lower() + text[1:]


def _description(command: Any) -> str:
    paragraphs = re.split(r"\n\s*\n", (command.help or "").strip())
    return ".PP\n".join(_roff(" ".join(each.split())) + "\n" for each in paragraphs)


def _flags(command: Any, ctx: click.Context, title: str) -> str:
    rows = []
    for each in command.get_params(ctx):
        if (record := each.get_help_record(ctx)) and (what := record[1] or getattr(each, "help", "")):
            rows.append((record[0], what))
    text = "".join(f".TP\n\\fB{_roff(names)}\\fR\n{_roff(what)}\n" for names, what in rows)
    return f"{title}\n{text}" if title and text else text


def _notes(notes: Notes) -> str:
    text = ""
    if notes.variables:
        rows = "".join(f".TP\n.B {_roff(name)}\n{_roff(what)}\n" for name, what in notes.variables)
        text += f".SH ENVIRONMENT\n{rows}"
    if notes.examples:
        rows = "".join(f".TP\n\\fBskiff {_roff(line)}\\fR\n{_roff(what)}\n" for line, what in notes.examples)
        text += f".SH EXAMPLES\n{rows}"
    return text


def _roff(text: str) -> str:
    """Return `text` for roff: backslashes and hyphens as they are, no line that begins a request (groff(7))."""
    shown = text.replace("\\", "\\e").replace("-", "\\-").replace("\n", " ").replace("…", "\\[u2026]")
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


if __name__ == "__main__":
    write(Path(sys.argv[1]))
