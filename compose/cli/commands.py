"""The commands by name, each in the module of its name, imported when it is called.

Importing and building all of them takes longer than most of them run. So `skiff --help` shows the summaries written
here; they are the first lines of the commands' own help, which a test compares.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click

SUMMARIES = {
    "up": "Create and start containers.",
    "plan": "Show what `up` would change, and why; change nothing.",
    "create": "Create containers, do not start them.",
    "scale": "Set the number of containers of services.",
    "watch": "Watch files; sync them into containers, or rebuild and restart these, when they change.",
    "down": "Stop and remove containers and networks.",
    "start": "Start containers that were stopped.",
    "stop": "Stop containers, do not remove them.",
    "restart": "Restart containers, and dependants that ask to be restarted with them.",
    "kill": "Send a signal to containers.",
    "pause": "Pause containers.",
    "unpause": "Resume paused containers.",
    "rm": "Remove containers that do not run.",
    "ps": "List containers.",
    "ls": "List projects.",
    "images": "List the images of containers.",
    "volumes": "List the volumes of the project, or those that services use.",
    "logs": "Show the output of containers, merged by time.",
    "graph": "Write the stack's picture: services, what they depend on, networks and volumes.",
    "top": "Show the processes in containers.",
    "port": "Show the host port of a service's port.",
    "events": "Show events of containers as they happen.",
    "wait": "Wait until services stop; exit with the last exit code.",
    "stats": "Show the resource usage of containers.",
    "version": "Show the version.",
    "exec": "Run a command in a container that runs.",
    "attach": "Attach to the streams of a container that runs.",
    "cp": "Copy files between containers and here.",
    "commit": "Make an image of a container's changes.",
    "export": "Write a container's filesystem as a tar archive.",
    "run": "Run a command in a new container of a service.",
    "build": "Build images.",
    "pull": "Pull images.",
    "push": "Push images that services build.",
    "publish": "Push the project's files to a registry, where others can run them from.",
    "config": "Check the files and print the resulting model.",
    "completion": "Print a script that lets a shell complete commands, flags, services and profiles.",
    "help": "Show the help of a command.",
    "shim": "Write docker-compose, and a plugin for `docker compose`, that call Skiff.",
    "doctor": "Check what this machine offers; print the cure for what is missing.",
    "oci": "Run containers from OCI bundles: a runtime with the command line of runc and crun.",
}
GROUPS = {
    "image": "Images of the engine.",
    "volume": "Volumes of the engine.",
    "network": "Networks of the engine.",
    "builder": "The engine's build cache.",
    "system": "The engine's disk.",
    "alpha": "Experimental commands.",
    "bridge": "Convert projects for other platforms.",
    "engine": "The engine of this user.",
}
COMPLETE = "_SKIFF_COMPLETE"
"""The variable of scripts that ask, for a shell, what may come next (click, "Shell Completion")."""
ALIASES = {"convert": "config"}
"""Other names, not listed: `convert` is what docker compose called `config` once."""
SETTINGS: dict[str, dict[str, Any]] = {
    # what follows the first argument is the command line of another program
    "exec": {"context_settings": {"allow_interspersed_args": False}},
    "run": {"context_settings": {"allow_interspersed_args": False}},
    "doctor": {"context_settings": {"allow_extra_args": True, "ignore_unknown_options": True}},
    "oci": {
        "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
        "add_help_option": False,
    },
}


def names() -> list[str]:
    """Return the names of all commands in the order of the list of commands, aliases last."""
    return [*SUMMARIES, *GROUPS, *ALIASES]


def make(name: str) -> click.Command:
    """Import and build a command or group."""
    import typer.main
    from typer.models import CommandInfo, TyperInfo

    from compose.cli.noted import NotedCommand

    module = import_module(f"compose.cli.{ALIASES.get(name, name)}")
    function = getattr(module, ALIASES.get(name, name))
    if name in GROUPS:
        return typer.main.get_group_from_info(
            TyperInfo(function(), name=name),
            pretty_exceptions_short=False,
            suggest_commands=True,
            rich_markup_mode=None,
        )
    info = CommandInfo(name, cls=NotedCommand, callback=function, hidden=name in ALIASES, **SETTINGS.get(name, {}))
    return typer.main.get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)


def outline(name: str) -> click.Command:
    """Return the command as far as the list of commands shows it."""
    from typer.core import TyperCommand

    return TyperCommand(name, help=SUMMARIES.get(name) or GROUPS.get(name), hidden=name in ALIASES)
