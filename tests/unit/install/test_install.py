"""Writing and removing the units; systemctl is a program that only writes down what it is asked."""

import os
from pathlib import Path

import pytest

from runtime.errors import SkiffError
from runtime.install.__main__ import Systemd, install, main, uninstall
from runtime.install.units import SERVICE, SOCKET, Installation, units
from runtime.paths import Paths


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """The lines that systemctl was called with."""
    program, calls = tmp_path / "bin/systemctl", tmp_path / "calls"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >>{calls}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return lambda: calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def systemd(tmp_path):
    return Systemd(tmp_path / "units", is_system=True)


@pytest.fixture
def installation(tmp_path):
    return Installation(Paths(tmp_path / "root", tmp_path / "run"), "/usr/bin/python3", is_system=True)


def test_install_says_what_it_wrote_and_ran(systemd, installation, asked, capsys):
    install(systemd, installation)
    assert {file.name: file.read_text() for file in systemd.folder.iterdir()} == units(installation)
    assert asked() == ["daemon-reload", f"enable --now {SOCKET} {SERVICE}"]
    told = capsys.readouterr().out
    for name in (SOCKET, SERVICE):
        assert f"wrote  {systemd.folder / name}" in told
    assert all(f"ran    systemctl {one}" in told for one in asked())


def test_install_again_writes_what_is_different_alone(systemd, installation, asked, capsys):
    install(systemd, installation)
    before = (systemd.folder / SERVICE).stat().st_ino
    install(systemd, installation)
    assert (systemd.folder / SERVICE).stat().st_ino == before
    moved = Installation(installation.paths, "/opt/python3", is_system=True)
    install(systemd, moved)
    assert (systemd.folder / SERVICE).read_text() == units(moved)[SERVICE]
    assert f"stop {SOCKET} {SERVICE}" in asked()  # a socket can't change under its service
    assert f"as is  {systemd.folder / SOCKET}" in capsys.readouterr().out


def test_uninstall_takes_away_what_install_wrote_and_nothing_else(systemd, installation, asked, capsys):
    install(systemd, installation)
    drop_in = systemd.folder / f"{SERVICE}.d/proxy.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\n")
    uninstall(systemd)
    assert list(systemd.folder.iterdir()) == [drop_in.parent]
    assert asked()[-2:] == [f"disable --now {SOCKET} {SERVICE}", "daemon-reload"]
    assert f"stay in {installation.paths.root}" in capsys.readouterr().out
    uninstall(systemd)
    assert "nothing to remove" in capsys.readouterr().out


@pytest.mark.parametrize("foreign", [SOCKET, SERVICE])
def test_somebody_else_s_unit_is_left_as_it_is(systemd, installation, asked, foreign):
    systemd.folder.mkdir()
    (systemd.folder / foreign).write_text("[Unit]\n")
    for act in (lambda: install(systemd, installation), lambda: uninstall(systemd)):
        with pytest.raises(SkiffError, match="was not written by"):
            act()
    assert [(file.name, file.read_text()) for file in systemd.folder.iterdir()] == [(foreign, "[Unit]\n")]
    assert not asked()


def test_a_masked_unit_is_left_masked(systemd, installation, asked):
    systemd.folder.mkdir()
    (systemd.folder / SERVICE).symlink_to("/dev/null")
    with pytest.raises(SkiffError, match=SERVICE):
        install(systemd, installation)
    assert (systemd.folder / SERVICE).is_symlink()


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_without_systemd_there_is_a_message(action):
    with pytest.raises(SystemExit) as ended:
        main([action])
    assert "systemd does not run here" in str(ended.value)
    assert "skiff engine run" in str(ended.value)
