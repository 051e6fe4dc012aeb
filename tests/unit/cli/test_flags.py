"""Flags in the forms that docker compose takes (pflag)."""

import pytest

from compose.cli import commands
from compose.cli.flags import normalize_flags
from compose.cli.main import make_group
from runtime.errors import SkiffError


@pytest.mark.parametrize(
    ("command", "given", "understood"),
    [
        ("up", ["-t=0", "-d=true", "-V=false", "web"], ["-t", "0", "-d", "web"]),
        ("up", ["-dt=5"], ["-d", "-t", "5"]),
        ("up", ["--wait=false", "--no-deps=true"], ["--no-deps"]),
        ("logs", ["-fn=3", "--no-color=1"], ["-f", "-n", "3", "--no-color"]),
        ("exec", ["-e=A=b", "-T=true", "web", "env", "-t=0"], ["-e", "A=b", "-T", "web", "env", "-t=0"]),
        ("exec", ["-eA=b", "web", "sh"], ["-eA=b", "web", "sh"]),
        ("run", ["-l=a=b", "web", "--", "-x=1"], ["-l", "a=b", "web", "--", "-x=1"]),
    ],
)
def test_values_stand_behind_an_equals_sign_too(command, given, understood):
    assert normalize_flags(commands.make(command), given)[0] == understood


def test_so_do_those_of_the_global_flags():
    given = ["-f=./c.yaml", "-p=x", "--dry-run=false", "up", "-t=0"]
    assert normalize_flags(make_group(), given)[0] == ["-f", "./c.yaml", "-p", "x", "up", "-t=0"]


def test_a_switch_takes_no_other_value():
    with pytest.raises(SkiffError, match='invalid argument "maybe" for "-d" flag'):
        normalize_flags(commands.make("up"), ["-d=maybe"])
