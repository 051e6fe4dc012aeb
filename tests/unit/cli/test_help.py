"""What commands say of themselves: flags, examples, variables, manual pages."""

import inspect
import re
import shlex
from importlib import import_module

import click
import pytest

from compose.cli import commands
from compose.cli.examples import COMMANDS, PROGRAM
from compose.cli.flags import normalize_flags
from compose.cli.main import make_group
from compose.cli.manual import pages

ROOT = make_group()
EXAMPLES = [line for notes in (PROGRAM, *COMMANDS.values()) for line, _ in notes.examples]


def every_command(group, path=()):
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


def test_every_flag_that_is_accepted_is_shown():
    hidden = [
        (*path, option.name)
        for path, command in [((), ROOT), *every_command(ROOT)]
        for option in command.params
        if getattr(option, "hidden", False)
    ]
    assert hidden == []


@pytest.mark.parametrize("line", EXAMPLES)
def test_each_example_is_a_command_line_that_is_understood(line):
    words = shlex.split(line.partition(" > ")[0].replace("COMMAND", "up"))
    command = ROOT.commands[words[0]]
    rest = words[1:] if isinstance(command, click.Group) else normalize_flags(command, words[1:])[0]
    command.make_context(words[0], list(rest))


def test_notes_are_about_commands_that_there_are_and_stand_in_their_help():
    assert set(COMMANDS) <= set(commands.names())
    for name, notes in COMMANDS.items():
        command = ROOT.commands[name]
        text = command.get_help(click.Context(command, info_name=name))
        assert all(f"  skiff {line}\n" in text for line, _ in notes.examples)
        assert all(variable in text for variable, _ in notes.variables)
    assert "COMPOSE_PROFILES" in ROOT.get_help(click.Context(ROOT, info_name="skiff"))


def test_there_is_a_manual_page_for_each_command_with_its_flags():
    found = dict(pages())
    assert set(found) == {
        "skiff.1",
        *(f"skiff-{name}.1" for name in commands.names() if name not in ("oci", "convert")),
    }
    for text in found.values():
        assert re.match(r'\.TH SKIFF[A-Z-]* 1 "" "Skiff" "User Commands"\n\.SH NAME\n', text)
        # a line that begins with a dot is a request (groff(7))
        assert {line.split()[0] for line in text.splitlines() if line.startswith((".", "'"))} <= {
            ".TH", ".SH", ".SS", ".TP", ".PP", ".B",
        }  # fmt: skip
    flags = inspect.signature(import_module("compose.cli.up").up).parameters
    assert r"\-\-always\-recreate\-deps" in found["skiff-up.1"]
    assert found["skiff-up.1"].count(".TP\n") > len(flags)
