"""Layers that were unpacked where there was one user alone: their owners come back once there are more."""

import asyncio
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from runtime.errors import NotFoundError
from runtime.image.archive import load
from runtime.image.images import Images
from runtime.paths import Paths
from runtime.store import Store
from tests.support.archives import docker_archive
from tests.support.layer_archives import archive, member

pytestmark = pytest.mark.root

INSIDE = """
import asyncio, sys
from pathlib import Path
from runtime.image.archive import load
from runtime.image.images import Images
from runtime.paths import Paths
from runtime.store import Store

base = Path(sys.argv[1])
paths = Paths(base / "root", base / "run")
images = Images(paths, Store.open(paths))
asyncio.run(load(images, base / "image.tar", lambda _: None))
built = base / "root/tmp/built"
built.mkdir(parents=True)
(built / "f").write_text("f")
print(asyncio.run(images.commit_layer(built)))
"""

USED_INSIDE = """
import sys
from pathlib import Path
from runtime.image.images import Images
from runtime.paths import Paths
from runtime.store import Store

base = Path(sys.argv[1])
paths = Paths(base / "root", base / "run")
images = Images(paths, Store.open(paths))
(image,) = images.list()
print((images.layer_path(image.diff_ids[0]) / "f").stat().st_uid)
"""


def test_a_mounted_layer_that_is_unpacked_for_one_user_gets_the_owners_back_too():
    with tempfile.TemporaryDirectory(prefix="skiff-image-", dir="/tmp") as name:
        base = Path(name)
        (base / "image.tar").write_bytes(docker_archive([archive(member("f", uid=1000, gid=7, content=b"f"))])[0])
        paths = Paths(base / "root", base / "run")
        store = Store.open(paths)
        images = Images(paths, store, mounts_layers=True)
        if not images.layers.mounted.is_possible:
            pytest.skip("this kernel mounts no layers: they are unpacked here")
        (image,) = asyncio.run(load(images, base / "image.tar", lambda _: None))
        store.close()
        used = subprocess.run(
            ["unshare", "--user", "--map-root-user", sys.executable, "-c", USED_INSIDE, base],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        assert used == "0"
        store = Store.open(paths)
        images = Images(paths, store, mounts_layers=True)
        (layer,) = image.diff_ids
        assert not images.has_layer(layer)
        asyncio.run(images.whole(image))
        found = (images.layer_path(layer) / "f").stat()
        assert (found.st_uid, found.st_gid, images.has_layer(layer)) == (1000, 7, True)
        images.layers.release()
        store.close()


def test_a_layer_gets_the_owners_of_its_files_back_when_there_are_more_users_than_one():
    with tempfile.TemporaryDirectory(prefix="skiff-image-", dir="/tmp") as name:
        base = Path(name)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            owned = tarfile.TarInfo("f")
            owned.uid, owned.gid, owned.size = 1000, 7, 1
            tar.addfile(owned, io.BytesIO(b"f"))
        (base / "image.tar").write_bytes(docker_archive([out.getvalue()])[0])
        made = subprocess.run(
            ["unshare", "--user", "--map-root-user", sys.executable, "-c", INSIDE, base],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        paths = Paths(base / "root", base / "run")
        store = Store.open(paths)
        images = Images(paths, store)
        (image,) = images.list()
        (layer,) = image.diff_ids
        file = images.layer_path(layer) / "f"
        assert (file.stat().st_uid, images.has_layer(layer)) == (0, False)
        asyncio.run(images.whole(image))
        assert (file.stat().st_uid, file.stat().st_gid, images.has_layer(layer)) == (1000, 7, True)
        inode = file.stat().st_ino
        asyncio.run(images.whole(image))
        assert file.stat().st_ino == inode, "once is enough"
        assert not images.has_layer(made), "what a step made is made again"
        with pytest.raises(NotFoundError, match="has lost the owners of its files"):
            asyncio.run(images.layers.renew(made))
        store.close()
