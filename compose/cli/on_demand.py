"""A group of commands that builds each when it is looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click


class OnDemand(MutableMapping[str, "click.Command"]):
    """Commands by name; `make` builds one at its first look-up, `outline` only what a list of commands shows of it."""

    def __init__(
        self,
        names: Sequence[str],
        make: Callable[[str], click.Command],
        outline: Callable[[str], click.Command],
    ) -> None:
        self._make = make
        self._outline = outline
        self._commands: dict[str, click.Command | None] = dict.fromkeys(names)

    def outlines(self) -> dict[str, click.Command]:
        """Return the commands as far as a list of them shows them."""
        return {name: self._outline(name) for name in self}

    def __getitem__(self, name: str) -> click.Command:
        command = self._commands[name]
        if command is None:
            command = self._commands[name] = self._make(name)
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __contains__(self, name: object) -> bool:
        return name in self._commands

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)
