"""Completion, asked by real shells, and help by name."""

import os
import shutil
import subprocess
import sys

import pytest

FILE = """
name: shop
services:
  web: {image: a, depends_on: [db]}
  worker: {image: a, profiles: [batch]}
  db: {image: a, environment: {X: "${UNSET:?needed}"}}
"""
BASH = """
eval "$(skiff completion bash)"
COMP_WORDS=(%s)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_skiff_completion skiff
printf '%%s\\n' "${COMPREPLY[@]}"
"""
FISH = "skiff completion fish | source; complete -C '%s'"
ZSH = """
autoload -U compinit; compinit -u -d $TMPDIR/dump
eval "$(skiff completion zsh)"
print -- $_comps[skiff]
COMP_WORDS="%s" COMP_CWORD=%d _SKIFF_COMPLETE=zsh_complete skiff
"""


@pytest.fixture
def ask(tmp_path):
    """Runs a script in a shell, in a folder with a project; returns what it printed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "skiff").write_text(f'#!/bin/sh\nexec {sys.executable} -m compose.cli.main "$@"\n')
    (folder / "skiff").chmod(0o755)
    (tmp_path / "compose.yaml").write_text(FILE)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "TMPDIR": str(tmp_path),
        "HOME": str(tmp_path),
        "PYTHONPATH": os.getcwd(),
    }

    def run(shell, script):
        assert shutil.which(shell), f"no {shell}: `.ci/packages {shell}` installs it"
        done = subprocess.run(
            [shell, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


LINES = [
    ("skiff up ", {"web", "worker"}, {"batch"}),
    ("skiff exec w", {"web", "worker"}, {"db"}),
    ("skiff --profile ", {"batch"}, {"web"}),
    ("skiff up --no-d", {"--no-deps"}, {"--no-build"}),
    ("skiff res", {"restart"}, {"up"}),
    ("skiff image p", {"prune", "pull", "push"}, {"ls"}),
]


@pytest.mark.parametrize(("line", "has", "has_not"), LINES, ids=[line for line, _, _ in LINES])
def test_a_shell_completes(ask, line, has, has_not):
    words = line.split(" ")
    answers = {
        "bash": ask("bash", BASH % " ".join(word or '""' for word in words)),
        "fish": ask("fish", FISH % line),
        "zsh": ask("zsh", ZSH % (line, len(words) - 1)),
    }
    assert answers["zsh"][0] == "_skiff_completion"
    for shell, lines in answers.items():
        found = {line.split("\t")[0] for line in lines}
        assert has <= found, shell
        assert not found & has_not, shell


def test_an_unknown_shell_is_refused_with_those_there_are(ask):
    said = ask("sh", "skiff completion csh 2>&1 || true")
    assert said[0] == 'skiff: no completion for the shell "csh"'
    assert "bash, zsh or fish" in said[1]


def test_help_is_shown_by_name_also_of_commands_of_groups(ask):
    assert ask("sh", "skiff help up") == ask("sh", "skiff up --help")
    assert ask("sh", "skiff help image ls") == ask("sh", "skiff image ls --help")
    assert ask("sh", "skiff help") == ask("sh", "skiff --help")
    assert ask("sh", "skiff help nosuch 2>&1 || true")[0] == 'skiff: unknown help topic: "nosuch"'
