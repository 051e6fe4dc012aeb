"""What the engine confirmed survives a power cut at any moment: replayed from a trace of its writes and fsyncs."""

import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.image.images import Images
from runtime.image.mounted_layers import ARCHIVE, FILES
from runtime.paths import Paths
from runtime.store import Store
from tests.support.api import Api, parse
from tests.support.archives import Layout, packed
from tests.support.power_cut import Disk, Tracer

pytestmark = pytest.mark.root

KINDS = ("strict", "empty", "torn", "lucky")
DOCKERFILE = b"FROM busybox\nCOPY made /made\nLABEL a=b\n"


@dataclass
class Step:
    """A request, and what must be there once it was answered: a check of the state that is found."""

    method: str
    path: str
    body: object
    holds: object
    confirmation: bytes = b"HTTP/1.1 20"
    """What the engine says when it is done."""
    undoes: str = ""
    """The path of the step whose outcome this one changes."""


def steps(ids):
    """Return the requests; what they made is known by `ids`, filled in as they are answered."""

    def container(found):
        return found.collection("container").get(ids["container"]) or {}

    def state(found):
        return container(found).get("state") or {}

    def named(found, name):
        return found.images_by_name.get(name)

    web = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"Binds": ["cache:/cache"]}}
    return [
        Step("POST", "/volumes/create", {"Name": "data", "Labels": {"a": "b"}},
             lambda f: f.collection("volume").get("data")["labels"] == {"a": "b"}),
        Step("POST", "/networks/create", {"Name": "net", "Labels": {"a": "b"}},
             lambda f: f.collection("network").by_name("net")[1]["labels"] == {"a": "b"}),
        Step("POST", "/containers/create?name=web", web,
             lambda f: bool(container(f)) and f.collection("volume").get("cache") is not None),
        Step("POST", "/containers/{container}/start", None, lambda f: state(f)["started_at"][:4] != "0001"),
        Step("POST", "/images/busybox/tag?repo=other&tag=1", None,
             lambda f: named(f, "other:1") is not None and named(f, "busybox:latest") is not None),
        Step("POST", "/containers/{container}/rename?name=shop", None, lambda f: container(f)["name"] == "shop"),
        Step("POST", "/containers/{container}/stop?t=0", None, lambda f: state(f)["stopped_by_user"] is True),
        Step("POST", "/build?t=built:1", packed({"Dockerfile": DOCKERFILE, "made": b"made"}),
             lambda f: f.whole(named(f, "built:1")), b"Successfully tagged"),
        Step("POST", "/images/load", loaded(), lambda f: f.whole(named(f, "loaded:1"))),
        Step("POST", "/images/busybox/tag?repo=built&tag=1", None,
             lambda f: named(f, "built:1") == named(f, "busybox:latest"), undoes="/build?t=built:1"),
        Step("POST", "/containers/{container}/update", {"RestartPolicy": {"Name": "always"}},
             lambda f: container(f)["host"]["RestartPolicy"]["Name"] == "always"),
        Step("DELETE", "/volumes/data", None, lambda f: f.collection("volume").get("data") is None,
             undoes="/volumes/create"),
    ]  # fmt: skip


def loaded():
    """Return an image archive with more files than are synced one by one."""
    layout = Layout()
    files = {f"file{number}": b"x" * number for number in range(200)}
    layout.list(layout.image(files), io__containerd__image__name="docker.io/library/loaded:1")
    return layout.archive()


class Found:
    """The state after a power cut, as the next engine finds it."""

    def __init__(self, root, finals):
        self.paths = Paths(root, root.parent / "run")
        store = Store.open(self.paths)
        self.collection = store.collection
        self.problems = store.problems
        images = Images(self.paths, store)
        self.images = {image.id: image for image in images.list()}
        self.images_by_name = {
            name.removeprefix("docker.io/library/"): image.id
            for image in self.images.values()
            for name in image.references
        }
        self.layers = images.layers
        self._finals = finals

    def whole(self, id):
        """Whether the image's layers have every file they have in the end, with all its bytes."""
        return all(_files(self.layers.directory(one)) == self._finals[one] for one in self.images[id].diff_ids)


def _files(directory):
    files = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def _layer_files(layer):
    archive = layer / ARCHIVE
    if not archive.exists():
        return _files(layer / FILES)
    with tarfile.open(archive) as tar:
        return {os.path.normpath(member.name): tar.extractfile(member).read() for member in tar if member.isreg()}


def ask(api, step, ids):
    path = step.path.format(**ids)
    data = step.body if isinstance(step.body, bytes) else None
    if data is None:
        answer = api.ask(step.method, path, step.body)
    else:
        head = f"{step.method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nConnection: close\r\n"
        answer = parse(api.exchange(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data))
    assert answer.status in (200, 201, 204), answer
    assert b'"error"' not in answer.body, answer
    if answer.status == 201 and b'"Id"' in answer.body and path.startswith("/containers/create"):
        ids["container"] = answer.json["Id"]


def test_nothing_that_was_confirmed_is_lost_wherever_the_power_goes(home, busybox):
    engine = home.skiff("engine", "start")
    pid = json.loads(engine.stdout)["engine_pid"]
    api, ids = Api(home.run / "engine.sock"), {}
    asked = steps(ids)
    disk = Disk(home.root)
    tracer = Tracer(pid, home.root.parent / "trace")
    for step in asked:
        ask(api, step, ids)
    calls = tracer.stop()
    home.stop()
    finals = {f"sha256:{one.name}": _layer_files(one) for one in (home.root / "layers").iterdir()}
    confirmed, cuts = 0, 0
    place = Path(tempfile.mkdtemp(prefix="skiff-cut-", dir="/dev/shm"))
    try:
        for name, text in calls:
            if confirmed < len(asked) and is_said(asked[confirmed].confirmation, name, text):
                confirmed += 1
            elif not disk.apply(name, text):
                continue
            for kind in KINDS:
                check(disk, place / "root", kind, asked[:confirmed], asked, finals)
                cuts += 1
    finally:
        shutil.rmtree(place)
    assert confirmed == len(asked)
    print(f"{cuts} cuts")


def is_said(words, name, text):
    return name in ("sendto", "sendmsg", "write") and "".join(f"\\x{byte:02x}" for byte in words) in text


def check(disk, root, kind, confirmed, asked, finals):
    disk.after_cut(root, kind)
    found = None
    try:
        found = Found(root, finals)
        for step in confirmed:
            later = next((one for one in asked if one.undoes == step.path), None)
            if later is not None and asked.index(later) <= len(confirmed):
                continue  # what it made is changed by a request that was under way
            assert step.holds(found), (kind, step.path, [str(one) for one in found.problems])
    finally:
        if found is not None:
            found.layers.release()
        shutil.rmtree(root)
