"""Commands whose help has examples and variables below the flags; these are imported when somebody asks for help."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class NotedCommand(TyperCommand):
    """A command with the notes that `examples` has for its name."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the notes."""
        from compose.cli.examples import COMMANDS, Notes

        write_notes(formatter, COMMANDS.get(self.name or "", Notes()))


def write_notes(formatter: Any, notes: Any) -> None:
    """Write examples and variables, each line as it is."""
    for title, text in notes.sections():
        formatter.write_paragraph()
        formatter.write(f"{title}:\n{text}")
