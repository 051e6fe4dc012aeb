"""`completion`: prints what a shell needs to complete commands, flags, services and profiles."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compose.cli.commands import COMPLETE
from runtime.errors import SkiffError

if TYPE_CHECKING:
    import click

WHERE = {
    "bash": 'add to ~/.bashrc: eval "$(skiff completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit: eval "$(skiff completion zsh)"',
    "fish": "skiff completion fish > ~/.config/fish/completions/skiff.fish",
}


def completion(
    ctx: typer.Context, shell: Annotated[str, typer.Argument(help="bash, zsh or fish", metavar="SHELL")] = ""
) -> None:
    """Print a script that lets a shell complete commands, flags, services and profiles."""
    from click.shell_completion import get_completion_class

    shell = shell or os.path.basename(os.environ.get("SHELL", ""))
    kind = get_completion_class(shell)
    if kind is None:
        raise SkiffError(f'no completion for the shell "{shell}"', "name one: skiff completion bash, zsh or fish")
    print(f"# {WHERE[shell]}\n{kind(ctx.find_root().command, {}, 'skiff', COMPLETE).source()}")


def complete(program: click.Command) -> int:
    """Answer a shell that asks what may come next, and return the exit code."""
    from click.shell_completion import shell_complete

    return shell_complete(program, {}, "skiff", COMPLETE, os.environ[COMPLETE])


def service_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the services of the project that begin with `incomplete`; none where the files can't be read."""
    return [name for name in _model(ctx)[0] if name.startswith(incomplete)]


def profile_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the profiles of the project that begin with `incomplete`."""
    return [name for name in _model(ctx)[1] if name.startswith(incomplete)]


def _model(ctx: typer.Context) -> tuple[list[str], list[str]]:
    """Return the names of all services and of all profiles."""
    from compose.stack.source import Loader, ProjectSource
    from runtime.client import endpoint

    # no callback has run: the global flags are what was parsed so far
    given: dict[str, Any] = ctx.find_root().params
    source = ProjectSource(
        tuple(given.get("file") or ()),
        given.get("project_name") or "",
        ("*",),
        tuple(given.get("env_file") or ()),
        given.get("project_directory") or "",
    )
    loader = Loader(source, os.environ, lambda: endpoint(os.environ, None), lambda _: None)
    try:
        # names are all that is wanted: variables that are not set do not matter
        loaded = loader.project(interpolate=False, check_consistency=False, resolve_environment=False)
        services = loaded.model().get("services") or {}
    except (SkiffError, OSError):
        return [], []
    profiles = {profile for service in services.values() for profile in service.get("profiles") or ()}
    return sorted(services), sorted(profiles)
