"""The text of the systemd units."""

import configparser
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.install.units import SERVICE, SOCKET, Installation, is_ours, service_unit, socket_unit, state_root, units
from runtime.paths import Paths

SYSTEM = Installation(Paths(Path("/var/lib/skiff"), Path("/run/skiff")), "/opt/skiff/bin/python", is_system=True)
USER = Installation(
    Paths(Path("/home/ann/.local/share/skiff"), Path("/run/user/1000/skiff")), "/opt/skiff/bin/python", is_system=False
)


def settings(text):
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str
    parser.read_string(text)
    return parser


def test_the_socket_is_the_engine_s_and_root_s_alone():
    socket = settings(socket_unit(SYSTEM))["Socket"]
    assert socket["ListenStream"] == "/run/skiff/engine.sock"
    assert (socket["SocketMode"], socket["DirectoryMode"]) == ("0600", "0700")
    assert "SocketGroup" not in socket


def test_a_group_may_use_the_socket_and_the_engine_knows_it():
    with_group = Installation(SYSTEM.paths, SYSTEM.python, is_system=True, group="docker")
    socket = settings(socket_unit(with_group))["Socket"]
    assert (socket["SocketMode"], socket["SocketGroup"], socket["DirectoryMode"]) == ("0660", "docker", "0710")
    assert 'Environment="SKIFF_GROUP=docker"' in service_unit(with_group)


def test_the_service_leaves_what_it_started_alone_and_is_not_restarted_when_idle():
    service = settings(service_unit(SYSTEM))["Service"]
    assert service["ExecStart"] == '"/opt/skiff/bin/python" -m runtime.daemon'
    assert (service["KillMode"], service["Restart"], service["OOMPolicy"]) == ("process", "on-failure", "continue")
    assert (service["TasksMax"], service["WorkingDirectory"]) == ("infinity", "/")
    assert "RuntimeDirectory" not in service


@pytest.mark.parametrize(("installation", "target"), [(SYSTEM, "multi-user.target"), (USER, "default.target")])
def test_a_boot_starts_the_engine_with_its_socket(installation, target):
    unit = settings(service_unit(installation))
    assert unit["Install"]["WantedBy"] == target
    assert f"\nRequires={SOCKET}\nAfter={SOCKET}\n" in service_unit(installation)
    assert settings(socket_unit(installation))["Install"]["WantedBy"] == "sockets.target"


def test_a_user_s_units_need_nothing_of_the_system_s():
    assert "network-online" not in service_unit(USER)
    assert 'Environment="SKIFF_RUN=/run/user/1000/skiff"' in service_unit(USER)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_path_is_one_word_of_the_unit(name):
    paths = Paths(Path("/srv") / name.replace("/", "-"), Path("/srv/run"))
    text = service_unit(Installation(paths, f"/opt/{name}/python", is_system=True))
    assert state_root(text) == paths.root
    command = next(line for line in text.splitlines() if line.startswith("ExecStart=")).removeprefix("ExecStart=")
    # what systemd does to it: unquote, then specifiers, then variables
    word = shlex.split(command)[0]
    assert word.replace("%%", "%").replace("$$", "$") == f"/opt/{name}/python"


def test_only_what_install_wrote_is_its_own():
    assert all(is_ours(text) for text in units(SYSTEM).values())
    assert set(units(SYSTEM)) == {SOCKET, SERVICE}
    assert not is_ours(socket_unit(SYSTEM).replace("# Written", "# Taken"))
