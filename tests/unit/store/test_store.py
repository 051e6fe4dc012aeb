import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import ConflictError, InternalError
from runtime.store import Store
from runtime.store.migrations import KINDS, MIGRATIONS


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "state.db")
    yield store
    store.close()


def test_a_document_comes_back_as_it_was_put(store):
    containers = store.collection("container")
    containers.put("abc", {"name": "web", "pid": 7}, name="web")
    assert containers.get("abc") == {"name": "web", "pid": 7}
    assert containers.by_name("web") == ("abc", {"name": "web", "pid": 7})


def test_two_documents_never_share_a_name(store):
    containers = store.collection("container")
    containers.put("a", {}, name="web")
    with pytest.raises(ConflictError, match="web"):
        containers.put("b", {}, name="web")
    containers.put("a", {"again": True}, name="web")


def test_a_failed_transaction_leaves_nothing(store):
    containers = store.collection("container")

    def fail_halfway():
        with store.transaction():
            containers.put("a", {})
            with store.transaction():
                containers.put("b", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert containers.items() == []


def test_an_uncommitted_transaction_is_gone_for_the_next_engine(tmp_path):
    path = tmp_path / "state.db"
    first = Store.open(path)
    first.collection("volume").put("kept", {})
    with first.transaction():
        first.collection("volume").put("half", {})
        # what a killed engine leaves: its write-ahead log, without the commit
        reader = sqlite3.connect(path)
        assert [row[0] for row in reader.execute("SELECT id FROM volume")] == ["kept"]
        reader.close()


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "state.db"
    Store.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(InternalError, match="upgrade skiff"):
        Store.open(path)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "state.db"
    path.write_text("this is not a database, it is a text of more than a hundred bytes " * 10)
    with pytest.raises(InternalError, match="not a database"):
        Store.open(path)
    assert path.read_text().startswith("this is not")


@given(
    ids=st.lists(st.text("0123456789abcdef", min_size=1, max_size=6), unique=True), prefix=st.text("0123456789abcdef")
)
def test_with_prefix_finds_exactly_the_ids_that_begin_so(tmp_path_factory, ids, prefix):
    store = Store.open(tmp_path_factory.mktemp("store") / "state.db")
    images = store.collection("image")
    for id in ids:
        images.put(id, {})
    assert images.with_prefix(prefix) == sorted(id for id in ids if id.startswith(prefix))
    store.close()


@pytest.mark.parametrize("version", range(len(MIGRATIONS) + 1))
def test_every_earlier_schema_is_brought_forward(tmp_path, version):
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    for statements in MIGRATIONS[:version]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={version}")
    connection.commit()
    connection.close()
    store = Store.open(path)
    for kind in KINDS:
        store.collection(kind).put("id", {"kind": kind}, name="name")
        assert store.collection(kind).by_name("name") == ("id", {"kind": kind})
    store.close()
    reopened = Store.open(path)
    assert reopened.collection("container").get("id") == {"kind": "container"}
    reopened.close()


def test_a_migration_that_fails_leaves_the_version_before_it(tmp_path, monkeypatch):
    path = tmp_path / "state.db"
    Store.open(path).close()
    broken = (*MIGRATIONS, ("CREATE TABLE half (id TEXT)", "this is no SQL"))
    monkeypatch.setattr("runtime.store.store.MIGRATIONS", broken)
    with pytest.raises(InternalError):
        Store.open(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []
    connection.close()


@settings(max_examples=40)  # each opens a database
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "delete", "fail"]), st.sampled_from("abc"), st.integers(0, 9)), max_size=20
    )
)
def test_transactions_take_effect_whole_or_not_at_all(tmp_path_factory, steps):
    store = Store.open(tmp_path_factory.mktemp("store") / "state.db")
    volumes, expected = store.collection("volume"), {}
    for action, id, value in steps:
        try:
            with store.transaction():
                if action == "delete":
                    volumes.delete(id)
                else:
                    volumes.put(id, {"value": value})
                if action == "fail":
                    raise RuntimeError
        except RuntimeError:
            continue
        if action == "put":
            expected[id] = {"value": value}
        else:
            expected.pop(id, None)
    assert dict(volumes.items()) == expected
    store.close()
