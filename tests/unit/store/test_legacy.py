"""The state of earlier versions, a SQLite database, is brought into records once."""

import json
import sqlite3
from contextlib import closing

import pytest

from runtime.paths import Paths
from runtime.store import Store

CONTAINER, NETWORK, IMAGE, LAYER = "c" * 64, "n" * 64, f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
ROWS = {
    "container": [(CONTAINER, "web", {"id": CONTAINER, "name": "web", "config": {}, "state": {"status": "exited"}})],
    "network": [(NETWORK, "net", {"id": NETWORK, "name": "net"})],
    "endpoint": [],
    "volume": [("data", "data", {"name": "data", "labels": {"a": "b"}, "options": {}, "created": "then"})],
    "image": [(IMAGE, None, {"config": {"rootfs": {"diff_ids": [LAYER]}}, "size": 5})],
    "tag": [("docker.io/library/x:1", None, {"image": IMAGE, "tagged_s": 7})],
    "layer": [(LAYER, None, {"size": 5})],
    "build_cache": [("key", None, {"layer": LAYER})],
}


@pytest.fixture
def paths(tmp_path):
    found = Paths(tmp_path / "root", tmp_path / "run")
    for directory in (found.containers / CONTAINER, found.volumes / "data/_data", found.layers / ("2" * 64) / "diff"):
        directory.mkdir(parents=True)
    (found.containers / CONTAINER / "log.data").touch()
    with closing(sqlite3.connect(found.database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA user_version=1")
        for kind, rows in ROWS.items():
            connection.execute(f"CREATE TABLE {kind} (id TEXT PRIMARY KEY, name TEXT, document TEXT)")
            for id, name, document in rows:
                connection.execute(f"INSERT INTO {kind} VALUES (?, ?, ?)", (id, name, json.dumps(document)))
        connection.commit()
    return found


def test_everything_in_it_is_there_afterwards_and_the_next_time(paths):
    for _ in range(2):
        store = Store.open(paths)
        assert store.problems == []
        assert store.collection("container").by_name("web")[1]["state"] == {"status": "exited"}
        assert store.collection("network").by_name("net") is not None
        assert store.collection("volume").get("data")["labels"] == {"a": "b"}
        assert store.collection("image").get(IMAGE)["references"] == {"docker.io/library/x:1": 7}
        assert json.loads((paths.layers / ("2" * 64) / "layer.json").read_text())["size"] == 5
        assert store.build_cache.get("key") == {"layer": LAYER}
    assert not paths.database.exists()


def test_one_that_cannot_be_read_stays_and_costs_no_volume(paths):
    paths.database.write_bytes(b"rubbish" * 1000)
    store = Store.open(paths)
    assert list(store.collection("volume")) == ["data"]
    assert (paths.volumes / "data/_data").is_dir()
    assert (paths.containers / CONTAINER).is_dir()
    said = "\n".join(map(str, store.problems))
    assert f"{paths.database}: the database of an earlier version can't be read" in said
    assert f"nothing was deleted; to remove it: rm {paths.database}" in said
    assert f"rm -r {paths.containers / CONTAINER}" in said
    assert paths.database.exists()


def test_an_import_that_was_broken_off_is_finished(paths):
    store = Store(paths)
    paths.networks.mkdir()
    store.collection("network").put(NETWORK, {"id": NETWORK, "name": "changed since"})
    store.flush_now()
    assert Store.open(paths).collection("network").get(NETWORK)["name"] == "changed since"
