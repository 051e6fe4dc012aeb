"""Commands that are made when they are asked for: making all of them costs more than most of them take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from typing import TYPE_CHECKING

import typer.core
import typer.main

if TYPE_CHECKING:
    import click


class OnDemand(MutableMapping[str, "click.Command"]):
    """Commands by name; each is made at its first look-up."""

    def __init__(
        self, makers: dict[str, Callable[[], click.Command]], outlines: dict[str, Callable[[], click.Command]]
    ) -> None:
        """`outlines` make what a list of commands shows of one, without its flags, where that is less work."""
        self._makers = makers
        self._outlines = outlines
        self._made: dict[str, click.Command] = {}

    def outlines(self) -> dict[str, click.Command]:
        """Return the commands as far as a list of them shows them."""
        return {name: self._outlines[name]() if name in self._outlines else self[name] for name in self}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._makers[name] = lambda: command

    def __delitem__(self, name: str) -> None:
        del self._makers[name]
        self._made.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def group_of(app: typer.Typer) -> typer.core.TyperGroup:
    """Return what typer makes of `app`, which is spent then, but for the commands: these are made on demand."""
    makers: dict[str, Callable[[], click.Command]] = {}
    outlines: dict[str, Callable[[], click.Command]] = {}
    for info in app.registered_commands:
        assert info.callback is not None  # a command is a function
        name = info.name or typer.main.get_command_name(info.callback.__name__)
        makers[name] = partial(
            typer.main.get_command_from_info, info, pretty_exceptions_short=False, rich_markup_mode=None
        )
        outlines[name] = partial(
            typer.core.TyperCommand,
            name,
            help=info.help or inspect.getdoc(info.callback),
            short_help=info.short_help,
            hidden=info.hidden,
            deprecated=info.deprecated,
        )
    for group in app.registered_groups:
        makers[str(group.name)] = partial(
            typer.main.get_group_from_info,
            group,
            pretty_exceptions_short=False,
            suggest_commands=True,
            rich_markup_mode=None,
        )
    app.registered_commands, app.registered_groups = [], []
    made = typer.main.get_group(app)
    made.commands = OnDemand(makers, outlines)
    return made
