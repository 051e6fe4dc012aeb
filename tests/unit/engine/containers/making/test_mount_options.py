import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engine.containers.making.mount_options import mount_points, parse_bind, parse_mount, target_of
from runtime.errors import BadRequestError


def test_a_path_is_bound_and_a_name_is_a_volume():
    assert parse_bind("/host/dir/:/in/:ro,rslave") == {
        "Type": "bind",
        "Source": "/host/dir",
        "Destination": "/in",
        "RW": False,
        "Mode": "ro,rslave",
        "Propagation": "rslave",
        "Create": True,
    }
    assert parse_bind("data:/in:nocopy")["Name"] == "data"
    assert parse_bind("/in") == {"Type": "volume", "Destination": "/in", "RW": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must not be empty"),
        ("a:b", "mount path must be absolute"),
        ("a:/b:c:d", "invalid volume specification"),
        (":/b", "invalid volume specification"),
        ("/a:/b:loud", "invalid mode: loud"),
        ("/a:/", "destination can't be '/'"),
        ("/a:/b/..", "destination can't be '/'"),
    ],
)
def test_what_is_no_bind_is_refused(text, message):
    with pytest.raises(BadRequestError, match=message):
        parse_bind(text)


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ({"Type": "bind", "Source": "/a"}, "Target must not be empty"),
        ({"Type": "pipe", "Target": "/a"}, "mount type unknown"),
        ({"Type": "bind", "Target": "/a", "BindOptions": {"Propagation": "up"}}, "invalid propagation mode: up"),
    ],
)
def test_what_is_no_mount_is_refused(mount, message):
    with pytest.raises(BadRequestError, match=message):
        parse_mount(mount)


def test_a_tmpfs_has_dockers_options_by_default():
    (found,) = mount_points({}, {"Tmpfs": {"/t": "exec,size=1m"}}, {})
    assert found["Options"] == ["exec", "size=1m", "nosuid", "nodev"]
    mount = parse_mount({"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 5, "Mode": 0o1770}})
    assert mount["Options"] == ["size=5", "mode=1770", "nosuid", "nodev", "noexec"]


def test_explicit_mounts_take_the_place_of_others():
    others = {"base": [{"Type": "volume", "Name": "theirs", "Destination": "/data", "RW": True}]}
    config, host = {"Volumes": {"/data": {}, "/logs": {}}}, {"VolumesFrom": ["base:ro"]}
    found = {mount["Destination"]: mount for mount in mount_points(config, host, others)}
    assert (found["/data"]["Name"], found["/data"]["RW"]) == ("theirs", False)
    assert "Name" not in found["/logs"]
    found = mount_points(config, {**host, "Binds": ["mine:/data"]}, others)
    assert {mount.get("Name") for mount in found} == {"mine", None}


def test_two_mounts_on_one_target_are_refused():
    with pytest.raises(BadRequestError, match="Duplicate mount point: /a"):
        mount_points({}, {"Binds": ["x:/a"], "Mounts": [{"Type": "volume", "Target": "/a/"}]}, {})


@given(st.text("ab/.", max_size=12))
def test_a_target_is_absolute_and_normal(path):
    try:
        target = target_of(path)
    except BadRequestError:
        assert not path.startswith("/") or target_is_root(path)
        return
    assert target.startswith("/")
    assert not {"", ".", ".."} & set(target[1:].split("/"))
    assert target_of(target) == target


def target_is_root(path):
    depth = 0
    for part in path.split("/"):
        depth = max(depth - 1, 0) if part == ".." else depth + (part not in ("", "."))
    return depth == 0


def test_a_volume_of_an_image_without_the_first_slash_is_one_below_the_root():
    (mount,) = mount_points({"Volumes": {"data": {}}}, {}, {})
    assert (mount["Type"], mount["Destination"]) == ("volume", "/data")
