"""Flags as users of docker compose write them: `--wait=false`, and `--dry-run` behind the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from runtime.errors import SkiffError

if TYPE_CHECKING:
    from click import Command, Option

YES, NO = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
DRY_RUN = "--dry-run"
NO_EFFECT = "For scripts of docker compose: no effect"
"""The help of flags that are taken and change nothing here."""


def normalize_flags(command: Command, arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Return the arguments of `command` in the forms that its parser knows, and whether --dry-run was among them.

    Raises SkiffError for a boolean flag with a value that is neither yes nor no.
    """
    options: dict[str, Option] = {
        name: cast("Option", each)
        for each in command.params
        if each.param_type_name == "option"
        for name in (*each.opts, *each.secondary_opts)
    }
    found: list[str] = []
    is_dry = False
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            found.append(argument)
            break
        name, equals, value = argument.partition("=")
        option = options.get(name)
        if argument == DRY_RUN and option is None:
            is_dry = True
        elif not argument.startswith("-") or argument == "-":
            found.append(argument)
            if not command.allow_interspersed_args or not command.context_settings.get("allow_interspersed_args", True):
                break
        elif option is not None and option.is_flag and equals:
            found += _flag(option, name, value)
        elif equals and not name.startswith("--") and (parts := _short(options, name, value)):
            found += parts
        else:
            found.append(argument)
            if _takes_next(options, argument):
                found += [each for each in (next(rest, None),) if each is not None]
    return [*found, *rest], is_dry


def _flag(option: Option, name: str, value: str) -> list[str]:
    if value not in (*YES, *NO):
        raise SkiffError(f'invalid argument "{value}" for "{name}" flag', "write true or false")
    if value in YES:
        return [name]
    return [option.secondary_opts[0]] if option.secondary_opts else []


def _short(options: dict[str, Option], cluster: str, value: str) -> list[str]:
    """Return the words of short options and a value, as in `-t=0` and `-qt=0`; none where the value is none of the last."""
    words = [f"-{letter}" for letter in cluster[1:]]
    named = [options[word] for word in words if word in options]
    if not words or len(named) < len(words) or any(not option.is_flag for option in named[:-1]):
        return []
    last = named[-1]
    return [*words[:-1], *_flag(last, words[-1], value)] if last.is_flag else [*words, value]


def _takes_next(options: dict[str, Option], argument: str) -> bool:
    """Whether the word behind `argument` is its value: a long option, or the last of a cluster of short ones."""
    if argument.startswith("--"):
        option = options.get(argument)
        return option is not None and not option.is_flag
    for at, letter in enumerate(argument[1:], 2):
        option = options.get(f"-{letter}")
        if option is not None and not option.is_flag:
            return at == len(argument)
    return False
