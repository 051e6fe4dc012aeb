"""`skiff engine check`: disk, engine, keeper and kernel held against each other, and what a repair does."""

import os
import shutil
import subprocess
import urllib.request

import pytest

from runtime.image.mounted_layers import ARCHIVE
from runtime.linux import netns
from runtime.oci.cgroup import Cgroups
from runtime.paths import Paths
from tests.support.api import Api

pytestmark = pytest.mark.root


@pytest.fixture
def engine(home, busybox):
    """A home with something of each kind, and a container that runs."""
    api = Api(home.run / "engine.sock")
    api.ask("POST", "/volumes/create", {"Name": "data", "Labels": {"a": "b"}})
    home.net = api.ask("POST", "/networks/create", {"Name": "net"}).json["Id"]
    home.web = api.run("sleep", "1000", name="web", HostConfig={"NetworkMode": "net", "Binds": ["data:/data"]})
    home.paths = Paths(home.root, home.run)
    return home


def checked(home, *options, code):
    done = home.skiff("engine", "check", *options, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_where_all_agree_it_says_so_and_what_there_is(engine):
    said = checked(engine, code=0)
    assert "no differences" in said
    assert "disk: 1 container, 1 volume, 4 networks, 1 image" in said
    assert "engine: 1 container, 1 volume, 4 networks, 1 image" in said


def test_a_record_that_is_gone_is_written_again(engine):
    record = engine.root / f"networks/{engine.net}.json"
    state = engine.root / f"containers/{engine.web}/container.json"
    record.unlink()
    state.write_bytes(b"")
    (engine.root / "volumes/data/volume.json").unlink()
    said = checked(engine, code=1)
    assert "disk: the record of network net is gone or damaged" in said
    assert "disk: the record of container web is gone or damaged" in said
    assert "disk: the record of volume data is gone or damaged" in said
    assert "it is written again" in said
    assert not record.exists(), "looking changes nothing"
    assert checked(engine, "--repair", code=0).count("repaired: it is written again") == 3
    checked(engine, code=0)
    engine.skiff("engine", "stop")
    assert "no differences" in checked(engine, code=0)
    api = Api(engine.run / "engine.sock")
    assert api.state(engine.web)["Running"]
    assert api.ask("GET", "/volumes/data").json["Labels"] == {"a": "b"}


def test_what_is_not_understood_is_set_aside_and_nothing_is_deleted(engine):
    foreign = engine.root / "containers/foreign"
    foreign.mkdir()
    (foreign / "file").write_text("somebody's")
    assert f"rm -r {foreign}" in checked(engine, code=1)
    assert foreign.exists()
    checked(engine, "--repair", code=0)
    assert not foreign.exists()
    (kept,) = (engine.root / "set-aside").glob("*/containers/foreign/file")
    assert kept.read_text() == "somebody's"
    checked(engine, code=0)


def test_leftovers_in_the_kernel_are_found_and_removed(engine):
    pinned, cgroup = engine.paths.netns / ("f" * 64), f"/skiff-{engine.paths.engine_id}/{'e' * 64}"
    subprocess.run(
        ["unshare", "--net", "sh", "-c", f"touch {pinned}; mount --bind /proc/self/ns/net {pinned}"], check=True
    )
    Cgroups().create(cgroup, {})
    (engine.paths.bundles / "old").mkdir()
    alias = f"skiff-{engine.paths.engine_id} gone"
    subprocess.run(["ip", "link", "add", "br-stray", "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", "br-stray", "alias", alias], check=True)
    try:
        said = checked(engine, code=1)
        assert f"kernel: the network namespace pinned to {pinned}" in said
        assert f"kernel: the cgroup {cgroup}" in said
        assert "kernel: the bridge br-stray belongs to no network" in said
        assert f"disk: the bundle {engine.paths.bundles / 'old'}" in said
        checked(engine, "--repair", code=0)
        assert not pinned.exists()
        assert not any(map(os.path.exists, Cgroups().directories(cgroup).values()))
        assert subprocess.run(["ip", "link", "show", "br-stray"], capture_output=True, check=False).returncode != 0
        checked(engine, code=0)
    finally:
        subprocess.run(["ip", "link", "delete", "br-stray"], capture_output=True, check=False)
        if pinned.exists():
            netns.remove(pinned)
    assert Api(engine.run / "engine.sock").state(engine.web)["Running"]


def test_rules_that_somebody_changed_are_reported_and_made_again(engine):
    table = ("inet", f"skiff-{engine.paths.engine_id}")
    publish = {"NetworkMode": "net", "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]}}
    page = "mkdir /www && echo page >/www/index.html && exec httpd -f -h /www"
    api = Api(engine.run / "engine.sock")
    id = api.run("sh", "-c", page, ExposedPorts={"80/tcp": {}}, HostConfig=publish)
    port = int(api.ask("GET", f"/containers/{id}/json").json["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    checked(engine, code=0)

    def nft(*command):
        return subprocess.run(["nft", *command], check=True, capture_output=True, text=True).stdout

    def fetched():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            return answer.read()

    bridge = nft("list", "set", *table, "bridges").split('"')[1]
    nft("flush", "map", *table, "published4_at")
    nft("add", "element", *table, "closed", f'{{ "{bridge}" }}')
    nft("flush", "chain", *table, "passing")
    said = checked(engine, code=1)
    assert f"lacks the published port {port}/tcp of 127.0.0.1" in said
    assert f"has the bridge {bridge} in closed, which the engine has not added" in said
    assert "has other rules in its chain passing" in said
    checked(engine, "--repair", code=0)
    checked(engine, code=0)
    assert fetched() == b"page\n"
    nft("delete", "table", *table)
    assert f"the nftables table {table[1]} is gone" in checked(engine, "--repair", code=0)
    checked(engine, code=0)
    assert fetched() == b"page\n"


def test_a_volume_whose_directory_is_gone_is_reported_and_not_made_up(engine):
    api = Api(engine.run / "engine.sock")
    api.ask("POST", "/volumes/create", {"Name": "other"})
    shutil.rmtree(engine.root / "volumes/other")
    said = checked(engine, "--repair", code=1)
    assert f"the directory of volume other is gone: {engine.root / 'volumes/other'}" in said
    assert "put it back, or remove the volume" in said
    assert not (engine.root / "volumes/other").exists()


def test_containers_that_come_and_go_at_the_same_time_are_no_differences(engine):
    process = subprocess.Popen(
        ["sh", "-c", 'for i in 1 2 3 4 5 6; do "$@" || exit 1; done', "sh", *engine.command, "-H", engine.host, "ls"],
        env=engine.env, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    api = Api(engine.run / "engine.sock")
    while process.poll() is None:
        id = api.run("true")
        api.wait(id)
        api.remove(id)
        assert api.ask("GET", "/skiff/v1/engine/check").json["differences"] == []
    assert process.returncode == 0


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_layer_is_reported_with_its_image(engine, busybox_tar, damage):
    (layer,) = (engine.root / "layers").iterdir()
    archive = layer / ARCHIVE
    if damage == "missing":
        subprocess.run(["umount", layer / "diff"], check=False)
        layer.rename(engine.root / "elsewhere")
    elif archive.exists():
        os.truncate(archive, 512)
    else:
        pytest.skip("this kernel mounts no layers: they are unpacked here")
    said = checked(engine, code=1)
    assert f"disk: layer sha256:{layer.name} of image docker.io/library/busybox:latest is damaged" in said
    assert "pull, load or build docker.io/library/busybox:latest again" in said
    assert engine.skiff("image", "inspect", "busybox").returncode == 0
    if damage == "missing":
        (engine.root / "elsewhere").rename(layer)
    else:
        engine.skiff("image", "load", "-i", busybox_tar)
    checked(engine, code=0)
