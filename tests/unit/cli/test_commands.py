"""The list of commands is written down, so that showing it builds none: it must say what the commands say."""

import ast
import inspect
from pathlib import Path

import compose.cli
from compose.cli import commands

FOLDER = Path(compose.cli.__file__).parent


def test_each_summary_is_the_first_line_of_the_commands_own_help():
    for name, summary in commands.SUMMARIES.items():
        help_text = inspect.cleandoc(commands.make(name).help or "")
        assert help_text.splitlines()[0] == summary, name


def test_each_group_says_what_it_is_about():
    for name, summary in commands.GROUPS.items():
        assert commands.make(name).help == summary, name


def test_each_command_has_a_module_of_its_name_and_no_module_defines_another():
    for name in (*commands.SUMMARIES, *commands.GROUPS):
        tree = ast.parse((FOLDER / f"{name}.py").read_text())
        public = [
            each.name for each in tree.body if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")
        ]
        others = set(public) & {*commands.SUMMARIES, *commands.GROUPS} - {name}
        assert name in public, name
        assert not others, name
