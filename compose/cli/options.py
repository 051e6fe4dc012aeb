"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.cli.context import Globals

List = list[str] | None


def _service_names(ctx: typer.Context, incomplete: str) -> list[str]:
    from compose.cli.completion import service_names

    return service_names(ctx, incomplete)


Services = Annotated[
    list[str] | None, typer.Argument(help="Services; all when none is named", autocompletion=_service_names)
]
Service = Annotated[str, typer.Argument(autocompletion=_service_names)]
Index = Annotated[int, typer.Option("--index", help="Number of the service's container")]
Timeout = Annotated[int | None, typer.Option("--timeout", "-t", help="Seconds to wait before a container is killed")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until services are healthy")]
WaitTimeout = Annotated[int, typer.Option("--wait-timeout", help="Seconds that --wait waits")]
Build = Annotated[bool, typer.Option("--build", help="Build images first")]
NoBuild = Annotated[bool, typer.Option("--no-build", help="Do not build images")]
Pull = Annotated[str, typer.Option("--pull", help="always, missing or never")]
QuietPull = Annotated[bool, typer.Option("--quiet-pull", help="Pull without showing it")]
QuietBuild = Annotated[bool, typer.Option("--quiet-build", help="Build without showing it")]
ForceRecreate = Annotated[bool, typer.Option("--force-recreate", help="Recreate what did not change")]
NoRecreate = Annotated[bool, typer.Option("--no-recreate", help="Recreate nothing")]
Rerun = Annotated[bool, typer.Option("--rerun", help="Run one-shots again that have completed, and did not change")]
NoDeps = Annotated[bool, typer.Option("--no-deps", help="Do not start dependencies")]
IncludeDeps = Annotated[bool, typer.Option("--include-deps", help="Images of dependencies, too")]
RemoveOrphans = Annotated[
    bool | None, typer.Option("--remove-orphans", help="Remove containers of services that the files no longer have")
]
Scale = Annotated[list[str] | None, typer.Option("--scale", help="SERVICE=NUMBER")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer every question with yes")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors")]
OnlyIds = Annotated[bool, typer.Option("--quiet", "-q", help="IDs or names only")]
Format = Annotated[str, typer.Option("--format", help="table, json or a template: '{{.Name}}'")]
Since = Annotated[str, typer.Option("--since", help="Time, or how long ago (10m)")]
Until = Annotated[str, typer.Option("--until", help="Time, or how long ago")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours")]
NoLogPrefix = Annotated[bool, typer.Option("--no-log-prefix", help="No names before lines")]
Interactive = Annotated[bool, typer.Option("--interactive/--no-interactive", "-i/-I", help="Attach standard input")]
NoTty = Annotated[bool, typer.Option("--no-tty", "--no-TTY", "-T", help="No terminal")]
Tty = Annotated[bool, typer.Option("--tty", "-t", help="A terminal, as is the default at a terminal")]
PULL_POLICIES = ("", "policy", "always", "missing", "never", "build")


def exclude(*pairs: tuple[str, bool, str, bool]) -> None:
    """Raise SkiffError for the first two flags that contradict each other: (flag, is set, other flag, is set)."""
    for one, is_one, other, is_other in pairs:
        if is_one and is_other:
            raise SkiffError(f"{one} cannot be combined with {other}", "leave one of them out")


def scales(pairs: Sequence[str]) -> dict[str, int]:
    """Return the numbers of `SERVICE=NUMBER`. Raises SkiffError for what is not of that form."""
    found = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        if not equals or not number.isdigit():
            raise SkiffError(f"invalid scale {pair!r}", "write SERVICE=NUMBER")
        found[name] = int(number)
    return found


def checked_policy(policy: str) -> str:
    """Return a pull policy that --pull may name. Raises SkiffError for another word."""
    if policy not in PULL_POLICIES:
        raise SkiffError(f'invalid --pull option "{policy}"', "write always, missing, never or build")
    return policy


def orphan_options(common: Globals, remove: bool | None) -> tuple[bool, bool]:
    """Return whether to remove orphans, and whether to ignore them without a warning. Raises SkiffError for both."""
    removes = common.is_set("COMPOSE_REMOVE_ORPHANS") if remove is None else remove
    ignores = common.is_set("COMPOSE_IGNORE_ORPHANS")
    if removes and ignores:
        raise SkiffError("cannot combine COMPOSE_IGNORE_ORPHANS and --remove-orphans", "unset one of them")
    return removes, ignores


def check_format(format: str) -> None:
    """Raise SkiffError for a word that is no format: docker compose takes only table, json and templates here."""
    if format and "{{" not in format and format not in ("table", "json"):
        raise SkiffError(f'format value "{format}" could not be parsed', "write table, json or a template: '{{.Name}}'")
