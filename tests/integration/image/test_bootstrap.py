"""What is made of a Debian base, with a stand-in for mmdebstrap: the real one takes a minute and a mirror."""

import os
import tarfile
import threading

import anyio
import pytest

from runtime.errors import BadRequestError, InternalError, UnavailableError
from runtime.image.bootstrap import Base, bootstrap
from runtime.image.images import Images
from runtime.paths import Paths
from runtime.store import Store

pytestmark = pytest.mark.root

PROGRAM = """#!/bin/sh
echo "I: running" >&2
echo "$@" >> {log}
for last; do case $last in *.tar) archive=$last;; esac; done
touch "$TMPDIR/left behind"
{then}
"""


@pytest.fixture
def images(tmp_path):
    paths = Paths(tmp_path / "root", tmp_path / "run")
    store = Store.open(paths)
    yield Images(paths, store)
    store.close()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program in mmdebstrap's place that does `then`; returns a function that does so."""
    (tmp_path / "bin").mkdir()
    with tarfile.open(tmp_path / "made.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("made"))

    def put(then):
        path = tmp_path / "bin/mmdebstrap"
        path.write_text(PROGRAM.format(log=tmp_path / "log", then=then.format(made=tmp_path / "made.tar")))
        path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return put


def test_a_base_is_made_once_and_then_imported(images, program, tmp_path, monkeypatch):
    program('cp {made} "$archive"')
    monkeypatch.setenv("SKIFF_DEBIAN_MIRROR", "http://mirror.invalid/debian/")
    told = []
    cache = tmp_path / "cache"
    for name in ("debian:trixie-slim", "debian:13-slim", "debian:latest"):
        anyio.run(bootstrap, images, name, cache, told.append)
        assert (images.layer_directories(images.resolve(name))[0] / "made").exists()
    calls = (tmp_path / "log").read_text().splitlines()
    assert len(calls) == 2
    assert "path-exclude=/usr/share/doc/*" in calls[0]
    assert "path-exclude" not in calls[1]
    assert "http://mirror.invalid/debian trixie main" in calls[0]
    assert "http://mirror.invalid/debian-security trixie-security main" in calls[0]
    assert {"status": "I: running"} in told
    assert sorted(path.name for path in cache.iterdir()) == [
        f"debian-trixie{slim}-{images.resolve('debian:latest').config['architecture']}.{kind}"
        for slim in ("", "-slim")
        for kind in ("lock", "tar")
    ]


def test_a_failure_is_reported_and_leaves_nothing(images, program, tmp_path):
    program('echo half > "$archive"; echo "E: no such mirror" >&2; exit 7')
    with pytest.raises(InternalError, match="exit code 7") as caught:
        anyio.run(bootstrap, images, "debian:bookworm", tmp_path / "cache", lambda _: None)
    assert "E: no such mirror" in str(caught.value)
    assert "SKIFF_DEBIAN_MIRROR" in str(caught.value)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert images.list() == []


def test_two_engines_that_make_the_same_base_do_it_once(images, program, tmp_path):
    program('cp {made} "$archive"')
    paths = Paths(tmp_path / "other", tmp_path / "run")
    both = (images, Images(paths, Store.open(paths)))
    threads = [
        threading.Thread(target=anyio.run, args=(bootstrap, one, "debian:sid", tmp_path / "cache", lambda _: None))
        for one in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len((tmp_path / "log").read_text().splitlines()) == 1
    assert all(one.resolve("debian:sid") for one in both)


@pytest.mark.parametrize(
    "name", ["debian:woody", "ubuntu:24.04", "host/debian:12", "debian:slim", "debian@sha256:" + "0" * 64]
)
def test_what_cannot_be_made_is_refused_with_what_can(name):
    with pytest.raises(BadRequestError, match="can't be made here") as caught:
        Base.parse(name, "x86_64")
    assert "debian:bookworm[-slim]" in caught.value.hint


def test_a_machine_that_no_base_is_made_for_is_reported():
    with pytest.raises(BadRequestError, match="can't be made for riscv64"):
        Base.parse("debian:12", "riscv64")


def test_without_mmdebstrap_the_cure_is_reported(images, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="mmdebstrap is not installed") as caught:
        anyio.run(bootstrap, images, "debian:12", tmp_path / "cache", lambda _: None)
    assert "apt-get install mmdebstrap" in str(caught.value)
