import json
import os

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import ConflictError, InternalError
from runtime.paths import Paths
from runtime.store import Store, record

ID = "f" * 64


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path / "root", tmp_path / "run")


@pytest.fixture
def store(paths):
    return Store.open(paths)


def reopened(paths):
    """Return the state as the next engine finds it."""
    return Store.open(paths)


def network(name="web", **more):
    return {"id": ID, "name": name, **more}


def test_a_document_comes_back_as_it_was_put(store):
    networks = store.collection("network")
    networks.put(ID, network(pid=7))
    assert networks.get(ID) == network(pid=7)
    assert networks.by_name("web") == (ID, network(pid=7))


def test_two_documents_never_share_a_name(store):
    networks = store.collection("network")
    networks.put(ID, network())
    with pytest.raises(ConflictError, match="web"):
        networks.put("e" * 64, {"id": "e" * 64, "name": "web"})
    networks.put(ID, network(again=True))
    networks.put(ID, network("other"))
    networks.put("e" * 64, {"id": "e" * 64, "name": "web"})


def test_what_was_flushed_is_there_for_the_next_engine(store, paths):
    store.collection("network").put(ID, network())
    anyio.run(store.flush)
    store.collection("network").put(ID, network(changed=True))
    assert reopened(paths).collection("network").items() == [(ID, network(changed=True))]


def test_a_volume_whose_engine_was_killed_before_its_data_had_a_directory_can_be_mounted(store, paths):
    (paths.volumes / "data").mkdir(parents=True)
    store.collection("volume").put("data", {"name": "data", "created": "", "labels": {}, "options": {}})
    assert (paths.volumes / "data/.new-volume.json").exists()  # nothing was confirmed yet
    assert reopened(paths).collection("volume").get("data") is not None
    assert (paths.volumes / "data/_data").is_dir()
    (paths.volumes / "data/_data").rmdir()  # what goes later is somebody's doing, and not made again
    reopened(paths)
    assert not (paths.volumes / "data/_data").exists()


def test_what_was_being_made_is_whole_or_not_there(store, paths):
    store.collection("network").put(ID, network())
    assert reopened(paths).collection("network").items() == [(ID, network())]
    store.collection("network").put("e" * 64, {"id": "e" * 64, "name": "half"})
    os.truncate(paths.networks / f"{'e' * 64}.json", 5)
    found = reopened(paths)
    assert found.collection("network").items() == [(ID, network())]
    assert found.problems == []
    assert os.listdir(paths.networks) == [f"{ID}.json"]


def test_a_volume_that_was_being_made_and_holds_data_stays(store, paths):
    (paths.volumes / "data/_data").mkdir(parents=True)
    (paths.volumes / "data/.new-volume.json").touch()
    assert list(reopened(paths).collection("volume")) == []
    (paths.volumes / "data/_data").mkdir(parents=True)
    (paths.volumes / "data/.new-volume.json").touch()
    (paths.volumes / "data/_data/file").touch()
    assert list(reopened(paths).collection("volume")) == ["data"]


def test_a_deleted_document_is_gone_and_its_name_free(store, paths):
    networks = store.collection("network")
    networks.put(ID, network())
    store.flush_now()
    assert networks.delete(ID)
    assert not networks.delete(ID)
    assert networks.by_name("web") is None
    store.flush_now()
    assert reopened(paths).collection("network").items() == []


def test_one_deleted_before_it_was_flushed_never_was(store, paths):
    store.collection("network").put(ID, network())
    store.collection("network").delete(ID)
    store.flush_now()
    assert os.listdir(paths.networks) == []


def test_documents_are_found_by_the_beginning_of_their_id(store):
    networks = store.collection("network")
    for id in ("aa1", "aa2", "ab"):
        networks.put(id, {"id": id, "name": id})
    assert networks.with_prefix("aa") == ["aa1", "aa2"]


def test_a_container_keeps_its_state_apart(store, paths):
    (paths.containers / ID).mkdir()
    containers = store.collection("container")
    container = network(config={}, state={"status": "created"}, ports=[])
    containers.put(ID, container)
    store.flush_now()
    before = (paths.containers / ID / "container.json").stat().st_size
    containers.put(ID, {**container, "state": {"status": "running"}})
    assert (paths.containers / ID / "container.json").stat().st_size == before
    assert reopened(paths).collection("container").get(ID)["state"] == {"status": "running"}


@settings(max_examples=100)
@given(
    versions=st.lists(
        st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3), min_size=1
    ),
    lost=st.integers(min_value=0, max_value=400),
    rubbish=st.binary(max_size=30),
)
def test_a_record_cut_anywhere_gives_a_version_that_was_written(tmp_path_factory, versions, lost, rubbish):
    path = tmp_path_factory.mktemp("record") / "x.json"
    ends = [record.append(path, record.encode(version)) for version in versions]
    kept = max(0, ends[-1] - lost)
    os.truncate(path, kept)
    whole = [version for version, end in zip(versions, ends, strict=True) if end - 1 <= kept]
    expected = {key: value for key, value in whole[-1].items() if key != "format"} if whole else None
    if not any(version.get("format", 1) != 1 for version in versions):
        assert record.read(path).document == expected
    # rubbish at the end, as a power cut may leave it, is passed over, and what is added to it can be read
    with open(path, "ab") as file:
        file.write(rubbish.replace(b"{", b"("))
    record.append(path, record.encode({"new": 1}))
    assert record.read(path).document == {"new": 1}


def test_a_record_does_not_grow_forever(store, paths):
    networks = store.collection("network")
    for number in range(3000):
        networks.put(ID, network(filling="x" * 200, number=number))
        if number % 100 == 0:
            store.flush_now()
    store.flush_now()
    assert (paths.networks / f"{ID}.json").stat().st_size < 300_000
    assert sorted(os.listdir(paths.networks)) == [f"{ID}.json"]
    assert reopened(paths).collection("network").get(ID)["number"] == 2999


def test_between_two_versions_of_a_long_record_one_is_always_there(store, paths):
    networks = store.collection("network")
    networks.put(ID, network(filling="x" * 300_000, number=0))
    store.flush_now()
    networks.put(ID, network(filling="x" * 300_000, number=1))
    # a power cut before the flush: the short file has its name, and no content yet
    os.truncate(paths.networks / f"{ID}.json", 0)
    assert reopened(paths).collection("network").get(ID)["number"] in (0, 1)


def test_changes_while_a_flush_is_under_way_are_flushed_by_the_next(store, paths):
    networks = store.collection("network")

    async def many():
        async with anyio.create_task_group() as group:
            for number in range(50):
                networks.put(f"{number:064}", {"id": f"{number:064}", "name": str(number)})
                group.start_soon(store.flush)
                await anyio.lowlevel.checkpoint()

    anyio.run(many)
    assert len(reopened(paths).collection("network").items()) == 50
    assert not any(name.startswith(".") for name in os.listdir(paths.networks))


def test_a_state_of_a_newer_skiff_is_left_alone(paths):
    paths.root.mkdir(parents=True)
    paths.format.write_text("2\n")
    with pytest.raises(InternalError, match="format 2, which is newer"):
        Store.open(paths)
    assert os.listdir(paths.root) == ["format"]


def test_a_record_of_a_newer_skiff_costs_that_one_thing(store, paths):
    store.collection("network").put(ID, network())
    store.flush_now()
    newer = json.dumps({"format": 2, "id": "e" * 64, "name": "newer"})
    (paths.networks / f"{'e' * 64}.json").write_text(f"{newer}\n")
    found = reopened(paths)
    assert [id for id, _ in found.collection("network").items()] == [ID]
    (problem,) = found.problems
    assert "was written by a newer version of Skiff (format 2, not 1)" in str(problem)
    assert "rm " not in str(problem)


def test_a_build_cache_that_is_damaged_costs_its_damaged_lines(store, paths):
    for number in range(5):
        store.build_cache.put(f"key{number}", {"layer": None, "number": number})
    store.build_cache.delete("key1")
    lines = paths.build_cache.read_bytes().splitlines(keepends=True)
    lines[2] = b'["key2", {"lay\n'
    paths.build_cache.write_bytes(b"".join(lines)[:-3])
    found = reopened(paths).build_cache
    assert [key for key, _ in found.items()] == ["key0", "key1", "key3", "key4"]


def test_a_build_cache_is_written_again_when_most_of_it_no_longer_counts(store, paths):
    for number in range(2000):
        store.build_cache.put("same", {"number": number})
    found = reopened(paths).build_cache
    assert found.items() == [("same", {"number": 1999})]
    assert len(paths.build_cache.read_bytes().splitlines()) == 1


def test_a_volume_may_lie_elsewhere_with_a_link_in_its_place(store, paths, tmp_path):
    (tmp_path / "other/_data").mkdir(parents=True)
    (paths.volumes / "data").symlink_to(tmp_path / "other")
    found = reopened(paths)
    assert list(found.collection("volume")) == ["data"]
    assert not any(problem.is_removable for problem in found.problems)
