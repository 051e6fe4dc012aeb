"""Every kind of damage to a state root, and what it must lead to: it costs what it hits, is named, and no volume is lost."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from runtime.paths import Paths
from runtime.store import Store
from tests.conftest import Home
from tests.support.api import Api
from tests.support.archives import packed
from tests.support.project import eventually

pytestmark = pytest.mark.root

EVERYTHING = {"container web", "container fresh", "network net", "image busybox:latest", "image other:1", "volume data"}
KEPT = "kept through everything\n"


# --- damages: each does one thing to the file, or directory, that a row names


def lost(path):
    # a layer may be mounted
    subprocess.run(["umount", path / "diff"], check=False, stderr=subprocess.DEVNULL)
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def emptied(path):
    path.write_bytes(b"")


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def cut(path):
    os.truncate(path, path.stat().st_size // 2 + 5)  # within a line also where there are two of one length


def garbage(path):
    path.write_bytes(os.urandom(path.stat().st_size))


def another_shape(path):
    path.write_text('{"format": 1, "id": 7, "name": ["x"], "labels": 3}\n')


def from_the_future(path):
    path.write_text('{"format": 99, "id": "x"}\n')


def a_directory(path):
    path.unlink()
    path.mkdir()


def a_torn_end(path):
    with path.open("ab") as file:
        file.write(b'{"format": 1, "id": "ab')


def _changed(path, member, value):
    lines = path.read_text().splitlines()
    path.write_text(json.dumps({**json.loads(lines[-1]), member: value}) + "\n")


def null_options(path):
    _changed(path, "options", None)


def options_in_a_list(path):
    _changed(path, "options", ["a"])


def a_list_as_name(path):
    _changed(path, "name", ["x"])


def no_mount_types(path):
    _changed(path, "mounts", [7])


def ports_in_a_word(path):
    _changed(path, "ports", "80")


def a_size_in_words(path):
    _changed(path, "size", "small")


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def not_ours(path):
    os.chown(path, 12345, 12345)


def a_copy(path):
    shutil.copytree(path, path.with_name("copied"))


def foreign_directory(path):
    (path / "foreign/deep").mkdir(parents=True)
    (path / "foreign/deep/file").write_text("somebody's")


def foreign_file(path):
    (path / "foreign").write_text("somebody's")


def foreign_volume(path):
    (path / "foreign/_data").mkdir(parents=True)
    (path / "foreign/_data/file").write_text("somebody's")


UNREADABLE = (emptied, zeroed, cut, garbage, a_directory)
WEB, NET, IMAGE, VOLUME = "containers/{web}", "networks/{net}.json", "images/{image}.json", "volumes/data/volume.json"

# what is damaged, how; what is gone then, and what the engine's log says of it
ROWS = [
    *[(f"{WEB}/container.json", how, {"container web"}, "rm -r {root}/" + WEB) for how in (lost, *UNREADABLE, another_shape)],
    (f"{WEB}/container.json", from_the_future, {"container web"}, "was written by a newer version of Skiff (format 99"),
    (f"{WEB}/container.json", a_torn_end, set(), "bytes can't be read"),
    (f"{WEB}/container.json", not_ours, set(), None),
    (f"{WEB}/state.json", lost, set(), None),
    *[(f"{WEB}/state.json", how, set(), "its last state is not known") for how in UNREADABLE if how is not cut],
    (f"{WEB}/container.json", a_list_as_name, {"container web"}, "name must be a string, not an array"),
    (f"{WEB}/container.json", no_mount_types, {"container web"}, "mounts[0] must be an object, not a number"),
    (f"{WEB}/state.json", ports_in_a_word, set(), "ports must be an array, not a string"),
    (f"{WEB}/state.json", a_pipe, set(), "not a regular file"),
    (f"{WEB}/state.json", cut, set(), "the previous version is used"),
    (f"{WEB}/log.index", lost, set(), None),
    (f"{WEB}/log.index", garbage, set(), None),
    (f"{WEB}/log.index", a_pipe, set(), None),
    (f"{WEB}/log.data", a_pipe, set(), None),
    (f"{WEB}/log.data", lost, set(), None),
    (WEB, lost, {"container web"}, None),
    (WEB, a_copy, set(), "is a copy of the container"),
    *[(NET, how, {"network net"}, "rm {root}/" + NET) for how in UNREADABLE if how is not a_directory],
    (NET, lost, {"network net"}, None),
    (NET, null_options, set(), None),
    (NET, options_in_a_list, {"network net"}, "options must be an object, not an array"),
    (NET, from_the_future, {"network net"}, "newer version of Skiff"),
    *[(IMAGE, how, {"image busybox:latest", "image other:1"}, "rm {root}/images/") for how in (zeroed, garbage)],
    (IMAGE, cut, {"image busybox:latest", "image other:1"}, "the previous version is used"),
    (IMAGE, lost, {"image busybox:latest", "image other:1"}, None),
    *[(VOLUME, how, set(), "the volume is used with its data") for how in (lost, *UNREADABLE)],
    (VOLUME, another_shape, set(), None),
    ("layers/{layer}/layer.json", lost, set(), None),
    ("layers/{layer}/layer.json", garbage, set(), None),
    ("layers/{layer}/layer.json", a_size_in_words, set(), None),
    *[("format", how, set(), None) for how in (lost, emptied, garbage)],
    *[("build-cache.jsonl", how, set(), None) for how in (lost, zeroed, cut, garbage)],
    *[("reserve", how, set(), None) for how in (lost, emptied)],
    ("engine.lock", garbage, set(), None),
    ("init-layer", lost, set(), None),
    ("init-layer/etc/hostname", a_directory, set(), None),
    ("init-layer/etc/mtab", a_pipe, set(), None),
    ("tmp", lost, set(), None),
    ("containers", foreign_directory, set(), "rm -r {root}/containers/foreign"),
    ("containers", foreign_file, set(), "rm {root}/containers/foreign"),
    ("volumes", foreign_directory, set(), "rm -r {root}/volumes/foreign"),
    ("volumes", foreign_volume, set(), "the volume is used with its data"),
    ("layers", foreign_directory, set(), None),
    ("networks", foreign_file, set(), "rm {root}/networks/foreign"),
    ("images", foreign_directory, set(), "rm -r {root}/images/foreign"),
    ("", foreign_directory, set(), None),
    ("containers", lost, {"container web", "container fresh"}, None),
    ("networks", lost, {"network net"}, None),
    ("images", lost, {"image busybox:latest", "image other:1"}, None),
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(busybox_tar):
    """A state root with one of everything, and no engine; and the names in it."""
    base = Path(tempfile.mkdtemp(prefix="skiff-", dir="/tmp"))
    home = Home(base / "root", base / "run")
    home.skiff("image", "load", "-i", busybox_tar)
    api = Api(home.run / "engine.sock")
    api.ask("POST", "/images/busybox/tag?repo=other&tag=1")
    api.ask("POST", "/volumes/create", {"Name": "data", "Labels": {"team": "a"}})
    net = api.ask("POST", "/networks/create", {"Name": "net"}).json["Id"]
    write = f"echo '{KEPT.strip()}' > /data/file; echo said; exit 3"
    web = api.run("sh", "-c", write, name="web", HostConfig={"Binds": ["data:/data"]})
    assert api.wait(web) == 3
    api.make("true", name="fresh")
    image = api.ask("GET", "/images/busybox/json").json
    built = api.ask(
        "POST",
        "/build?t=built:1",
        packed({"Dockerfile": b"FROM busybox\nRUN true\n"}),
        content_type="application/x-tar",
    )
    assert built.status == 200
    home.skiff("engine", "stop", "--force")
    names = {
        "web": web,
        "net": net,
        "image": image["Id"].replace(":", "-"),
        "layer": image["RootFS"]["Layers"][0].removeprefix("sha256:"),
    }
    yield home, names
    shutil.rmtree(base)


def found(api):
    """Return everything that the engine knows."""
    containers = {f"container {one['Names'][0][1:]}" for one in api.ask("GET", "/containers/json?all=1").json}
    networks = {f"network {one['Name']}" for one in api.ask("GET", "/networks").json}
    images = {f"image {tag}" for one in api.ask("GET", "/images/json").json for tag in one["RepoTags"] or ()}
    volumes = {f"volume {one['Name']}" for one in api.ask("GET", "/volumes").json["Volumes"]}
    return (containers | networks | images | volumes) & EVERYTHING


@pytest.mark.parametrize(
    ("what", "damage", "costs", "said"), ROWS, ids=[f"{row[0] or 'root'}-{row[1].__name__}" for row in ROWS]
)
def test_damage_costs_what_it_hits_and_no_volume(whole, home, what, damage, costs, said):
    origin, names = whole
    subprocess.run(["cp", "-a", origin.root, home.root], check=True)
    target = home.root / what.format(**names)
    damage(target)
    kept = sorted(path for path in home.root.rglob("*") if "foreign" in path.parts)
    # an engine may write after what can't be read, which is whole again then
    problems = "\n".join(map(str, Store.survey(Paths(home.root, home.run)).problems))
    home.skiff("engine", "start")
    api = Api(home.run / "engine.sock")
    assert found(api) == EVERYTHING - costs
    assert (home.root / "volumes/data/_data/file").read_text() == KEPT
    assert all(path.exists() for path in kept)
    log = (home.run / "engine.log").read_text()
    assert "Traceback" not in log
    if "container web" not in costs:
        assert api.ask("GET", "/containers/web/logs?stdout=1").status == 200
    if said is not None:
        assert said.format(root=home.root, **names) in log
        assert said.format(root=home.root, **names) in problems
    # and the engine works
    if "image busybox:latest" not in costs:
        assert api.wait(api.run("cat", "/data/file", HostConfig={"Binds": ["data:/data"]})) == 0


def test_a_container_whose_state_was_lost_runs_again_as_its_policy_says(whole, home):
    origin, names = whole
    subprocess.run(["cp", "-a", origin.root, home.root], check=True)
    record = home.root / f"containers/{names['web']}/container.json"
    document = json.loads(record.read_text().splitlines()[-1])
    document["host"]["RestartPolicy"] = {"Name": "always"}
    document["config"]["Cmd"] = ["sleep", "1000"]
    record.write_text(json.dumps(document) + "\n")
    garbage(home.root / f"containers/{names['web']}/state.json")
    home.skiff("engine", "start")
    api = Api(home.run / "engine.sock")
    eventually(lambda: api.state("web")["Running"], what="the container to run")


def test_the_doctor_names_what_can_not_be_understood_and_how_to_remove_it(whole, home):
    origin, names = whole
    subprocess.run(["cp", "-a", origin.root, home.root], check=True)
    garbage(home.root / NET.format(**names))
    said = home.skiff("doctor", check=False).stdout
    assert f"{home.root / NET.format(**names)}: is damaged: it has no readable version" in said
    assert f"nothing was deleted; to remove it: rm {home.root / NET.format(**names)}" in said


def test_a_container_that_lacks_something_of_its_own_says_what(whole, home):
    origin, names = whole
    subprocess.run(["cp", "-a", origin.root, home.root], check=True)
    place = home.root / f"containers/{names['web']}"
    shutil.rmtree(place / "work")
    (place / "work").write_text("a file")
    home.skiff("engine", "start")
    api = Api(home.run / "engine.sock")
    refused = api.ask("POST", "/containers/web/start")
    assert refused.json["message"] == f"container web can't be started: {place}/work: File exists"
    assert "move it away" in refused.json["hint"]
    lost(home.root / f"layers/{names['layer']}")
    refused = api.ask("POST", "/containers/fresh/start")
    assert refused.status == 404
    assert f"layer sha256:{names['layer']} of image" in refused.json["message"]
    assert "pull" in refused.json["hint"]
    assert "Traceback" not in (home.run / "engine.log").read_text()
