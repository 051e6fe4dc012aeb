"""`load` and `save`: what tools write is read, what is written they can read, and nothing is ever half there."""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from runtime.errors import BadRequestError, NotFoundError
from runtime.image.archive import exports, load, save
from runtime.image.images import Images
from runtime.paths import Paths
from runtime.store import Store
from tests.support.archives import Layout, digest, docker_archive, packed

pytestmark = pytest.mark.root

NAME = {"io__containerd__image__name": "docker.io/library/made:1"}


@contextmanager
def store(folder):
    """Give the images of a state root of their own."""
    paths = Paths(folder / "root", folder / "run")
    opened = Store.open(paths)
    try:
        yield Images(paths, opened)
    finally:
        opened.close()


@pytest.fixture
def images(tmp_path):
    with store(tmp_path) as found:
        yield found


def loaded(images, data, folder=None):
    """Load the archive `data`; return the images and the messages."""
    told = []
    with tempfile.NamedTemporaryFile(dir=images.scratch()) as file:
        file.write(data)
        file.flush()
        return anyio.run(load, images, Path(file.name), told.append), [one["stream"].strip() for one in told]


def saved(images, *names):
    out = io.BytesIO()
    save(exports(images, names), out, images.scratch())
    return out.getvalue()


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}


def leftovers(images):
    return os.listdir(images.scratch())


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_compressed_archives_are_loaded(images, compress):
    layout = Layout()
    layout.list(layout.image({"f": b"x"}), **NAME)
    (image,), told = loaded(images, compress(layout.archive()))
    assert told == ["Loaded image: made:1"]
    assert (images.layer_directories(image)[0] / "f").read_bytes() == b"x"
    assert leftovers(images) == []


def test_an_archive_of_dockers_keeps_its_id_and_its_names(images):
    data, id = docker_archive([packed({"a": b"1"}), packed({"b": b"2"})], ("made:1", "host:5/made:2"))
    (image,), told = loaded(images, data)
    assert image.id == id
    assert told == ["Loaded image: made:1", "Loaded image: host:5/made:2"]
    again = members(saved(images, "made:1"))
    entry = json.loads(again["manifest.json"])[0]
    assert digest(again[entry["Config"]]) == id
    assert [digest(again[name]) for name in entry["Layers"]] == list(image.diff_ids)


def test_layers_that_are_links_and_layers_that_are_compressed_are_read(images):
    layer = packed({"a": b"1"})
    data, _ = docker_archive([layer])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members(data).items():
            member = tarfile.TarInfo(name if name != "0/layer.tar" else "shared/layer.tar")
            content = gzip.compress(content, mtime=0) if name == "0/layer.tar" else content
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("0/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../shared/layer.tar"
        tar.addfile(link)
    (image,), _ = loaded(images, out.getvalue())
    assert (images.layer_directories(image)[0] / "a").read_bytes() == b"1"


def test_of_several_platforms_this_machines_is_loaded_and_attestations_are_none(images):
    layout = Layout()
    here = layout.image({"f": b"here"})
    there = layout.image({"f": b"there"}, architecture="s390x")
    layout.list(layout.index(there, here, layout.attestation(here)), **NAME)
    (image,), _ = loaded(images, layout.archive())
    assert (images.layer_directories(image)[0] / "f").read_bytes() == b"here"


def test_an_index_of_several_images_gives_each(images):
    layout = Layout()
    one, two = layout.image({"f": b"1"}), layout.image({"f": b"2"})
    layout.list(one, **NAME)
    layout.list(layout.attestation(one))
    layout.list(layout.image({"f": b"foreign"}, architecture="s390x"), **NAME)
    layout.list(two, org__opencontainers__image__ref__name="host:5000/two:2")
    _, told = loaded(images, layout.archive())
    assert told == ["Loaded image: made:1", "Loaded image: host:5000/two:2"]


def test_a_tag_alone_names_no_image_and_neither_does_nonsense(images):
    for name in ("latest", "No Such:Name"):
        layout = Layout()
        layout.list(layout.image({"f": name.encode()}), org__opencontainers__image__ref__name=name)
        (image,), told = loaded(images, layout.archive())
        assert told == [f"Loaded image ID: {image.id}"]


def test_an_image_for_another_machine_alone_is_loaded_all_the_same(images):
    layout = Layout()
    image = layout.image({"f": b"x"}, architecture="s390x")
    layout.list(layout.index(image, layout.attestation(image)), **NAME)
    (found,), _ = loaded(images, layout.archive())
    assert found.config["architecture"] == "s390x"


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_what_is_loaded_is_saved_again_to_the_byte(images, tmp_path, compress):
    layout = Layout()
    layout.list(layout.image({"f": b"x" * 10000}, compress=compress), **NAME)
    loaded(images, layout.archive())
    again = members(saved(images, "made:1"))
    assert {name: again[name] for name in layout.files} == layout.files
    entry = json.loads(again["index.json"])["manifests"][0]
    assert entry["digest"] == layout.manifests[0]["digest"]
    with store(tmp_path / "other") as others:
        (image,), told = loaded(others, saved(images, "made:1"))
        assert told == ["Loaded image: made:1"]
        assert members(saved(others, "made:1")) == again
        assert image.manifest == entry["digest"]


def test_a_saved_archive_is_an_oci_layout(images):
    data, _ = docker_archive([packed({"a": b"1"})])
    loaded(images, data)
    found = members(saved(images, "made:1"))
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(found["index.json"])
    assert (index["schemaVersion"], index["mediaType"]) == (2, "application/vnd.oci.image.index.v1+json")
    (entry,) = index["manifests"]
    assert entry["annotations"] == {
        "io.containerd.image.name": "docker.io/library/made:1",
        "org.opencontainers.image.ref.name": "1",
    }
    assert entry["platform"] == {"os": "linux", "architecture": "amd64"}

    def blob(descriptor):
        content = found["blobs/" + descriptor["digest"].replace(":", "/")]
        assert (digest(content), len(content)) == (descriptor["digest"], descriptor["size"])
        return content

    manifest = json.loads(blob(entry))
    assert (manifest["schemaVersion"], manifest["mediaType"]) == (2, entry["mediaType"])
    config = json.loads(blob(manifest["config"]))
    assert [digest(blob(layer)) for layer in manifest["layers"]] == config["rootfs"]["diff_ids"]
    assert {name.partition("/")[0] for name in found} == {"blobs", "index.json", "manifest.json", "oci-layout"}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"no archive", "the archive can't be read"),
        (b"", "the archive can't be read"),
        (gzip.compress(b"no archive", mtime=0), "the archive can't be read"),
        (gzip.compress(packed({"manifest.json": b"[]" * 9000}), mtime=0)[:-100], "the archive can't be read"),
        (packed({"other": b""}), "neither manifest.json nor index.json"),
        (packed({"manifest.json": b"{"}), "the archive can't be read"),
        (packed({"manifest.json": b"[3]"}), "the archive can't be read"),
        (packed({"manifest.json": b'[{"Config": "gone", "Layers": []}]'}), "the archive has no gone"),
        (packed({"index.json": b'{"manifests": []}'}), "the archive has no image"),
        (
            packed({"index.json": b'{"manifests": [{"digest": "../../etc/passwd", "size": 1}]}'}),
            "the archive has no blob",
        ),
    ],
)
def test_what_is_no_image_archive_is_refused(images, data, problem):
    with pytest.raises(BadRequestError, match=problem):
        loaded(images, data)
    assert leftovers(images) == []


def test_a_layer_with_other_content_than_its_digest_is_refused_and_not_there(images):
    layout = Layout()
    descriptor = layout.image({"f": b"x"})
    layout.list(descriptor, **NAME)
    for name, content in layout.files.items():
        if content.startswith(b"\x1f\x8b"):
            layout.files[name] = gzip.compress(packed({"f": b"other"}), mtime=0)
    with pytest.raises(BadRequestError, match="blob has digest"):
        loaded(images, layout.archive())
    data, _ = docker_archive([packed({"a": b"1"})])
    files = members(data)
    files["0/layer.tar"] = packed({"a": b"other"})
    with pytest.raises(BadRequestError, match="the layer's content is"):
        loaded(images, packed(files))
    assert (images.list(), leftovers(images)) == ([], [])
    root = images.layers.directory(digest(b"")).parent.parent
    assert not root.exists() or os.listdir(root) == []


def test_two_loads_of_an_image_at_once_are_one_image(images):
    data, id = docker_archive([packed({f"{n}": os.urandom(1 << 16)}) for n in range(4)])
    files = []
    for number in range(4):
        files.append(images.scratch().parent / f"archive-{number}")
        files[-1].write_bytes(data)

    async def all_at_once():
        async with anyio.create_task_group() as group:
            for file in files:
                group.start_soon(load, images, file, lambda _: None)

    anyio.run(all_at_once)
    assert [image.id for image in images.list()] == [id]
    assert leftovers(images) == []


LOADER = """
import sys
from pathlib import Path
import anyio
from runtime.image.archive import load
from runtime.image.images import Images
from runtime.paths import Paths
from runtime.store import Store
paths = Paths(Path(sys.argv[1]), Path(sys.argv[1]) / "run")
images = Images(paths, Store.open(paths))
print("begun", flush=True)
anyio.run(load, images, Path(sys.argv[2]), lambda _: None)
print("done", flush=True)
"""


def test_a_load_that_is_killed_leaves_nothing_that_counts(tmp_path):
    data, id = docker_archive([packed({f"{n}/{m}": os.urandom(1 << 12) for m in range(200)}) for n in range(6)])
    archive = tmp_path / "archive.tar"
    archive.write_bytes(data)
    root = tmp_path / "root"
    for layers in (0, 2, 4):
        process = subprocess.Popen(
            [sys.executable, "-c", LOADER, root, archive], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
        )
        assert process.stdout.readline() == b"begun\n"
        # killed while it unpacks: as soon as it has begun with one more layer
        while (
            process.poll() is None and len(os.listdir(root / "layers") if (root / "layers").exists() else ()) <= layers
        ):
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        paths = Paths(root, root / "run")
        opened = Store.open(paths)
        images = Images(paths, opened)
        for one in images.layers.known():
            (directory,) = images.layers.directory(one).iterdir()
            assert len(list(directory.iterdir())) == 200
        if images.list():
            assert [image.id for image in images.list()] == [id]
        else:
            with pytest.raises(NotFoundError):
                images.resolve("made:1")
        opened.close()
        shutil.rmtree(root / "tmp", ignore_errors=True)
    with store(tmp_path) as images:
        (image,) = anyio.run(load, images, archive, lambda _: None)
        for number, directory in enumerate(reversed(images.layer_directories(image))):
            assert len(list((directory / str(number)).iterdir())) == 200


def test_garbage_is_collected_only_when_nobody_makes_an_image(images):
    data, _ = docker_archive([packed({"a": b"1"})])
    (image,), _ = loaded(images, data)

    async def inside():
        async with images.garbage.held_off():
            images.remove(image.id, force=True, in_use=lambda _: None)
            assert images.layers.directory(image.diff_ids[0]).is_dir()
        assert not images.layers.directory(image.diff_ids[0]).exists()

    anyio.run(inside)


def test_an_image_of_a_container_keeps_its_layers(images):
    data, _ = docker_archive([packed({"a": b"1"})])
    (image,), _ = loaded(images, data)
    images.remove("made:1", force=True, in_use=lambda _: "a container")
    images.collect_garbage()
    assert images.layers.directory(image.diff_ids[0]).is_dir()
