"""Volumes, binds, tmpfs and image mounts as containers see them."""

import os
import socket
import stat
import subprocess

import pytest

from runtime.client import Client, EngineAddress
from runtime.errors import BadRequestError, ConflictError, NotFoundError, SkiffError
from tests.support.engine import Engine
from tests.support.project import eventually, kill_and_wait, pid_of

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def engine(shared_home, busybox_tar, tmp_path_factory):
    shared_home.skiff("image", "load", "-i", busybox_tar)
    engine = Engine(shared_home)
    context = tmp_path_factory.mktemp("context")
    (context / "Dockerfile").write_text(
        "FROM busybox\n"
        "RUN mkdir -p /data/d && echo content > /data/f && chown 5:6 /data/f && chmod 4751 /data/f && ln -s f /data/l && "
        "chmod 1770 /data && chown 7:8 /data && mkfifo /data/d/p && ln /data/f /data/d/h && touch -d @1000 /data/d && "
        "ln -s /etc/inside /link && ln -s ../../../../../../../../etc /up && mkdir /etc/inside\n"
        "VOLUME /anonymous\nRUN mkdir /anonymous && echo hi > /anonymous/x\n"
    )
    (context / "compose.yaml").write_text("services: {web: {build: ., image: filled}}\n")
    shared_home.skiff("build", cwd=context)
    return engine


def volume(source, target, **options):
    return {"Type": "volume", "Source": source, "Target": target, "VolumeOptions": options}


def bind(source, target, *, read_only=False, **options):
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only, "BindOptions": options}


def test_an_empty_volume_is_filled_from_the_image_just_as_it_is_there(engine):
    shown = "cd /data && stat -c '%n %u %g %a' . f d && readlink l && stat -c %Y d && test -p d/p -a f -ef d/h && echo linked"
    expected = [". 7 8 1770", "f 5 6 4751", "d 0 0 755", "f", "1000", "linked"]
    assert engine.run(shown, volume("copied", "/data"), image="filled").splitlines() == expected
    assert engine.run("cat /data/f; echo more >> /data/f", volume("copied", "/data"), image="filled") == "content\n"
    assert engine.run("cat /data/f", volume("copied", "/data"), image="filled") == "content\nmore\n"
    engine.client.remove_volume("copied")
    assert not engine.data("copied").exists()


def test_a_volume_that_holds_something_or_is_not_to_be_filled_stays_as_it_is(engine):
    engine.run("touch /v/own", volume("held", "/v"))
    assert engine.run("ls /data", volume("held", "/data"), image="filled") == "own\n"
    assert engine.run("ls /data", volume("bare", "/data", NoCopy=True), image="filled") == ""
    for name in ("held", "bare"):
        engine.client.remove_volume(name)


def test_a_volume_of_the_image_is_made_filled_and_goes_with_its_container(engine):
    before = {one["Name"] for one in engine.client.volumes()}
    assert engine.run("cat /anonymous/x", image="filled") == "hi\n"
    assert {one["Name"] for one in engine.client.volumes()} == before


def test_a_part_of_a_volume_is_shown_and_no_link_leads_out_of_it(engine):
    engine.run(
        "mkdir -p /v/sub/deep && echo x > /v/sub/deep/f && ln -s /etc /v/out && ln -s sub /v/in", volume("parts", "/v")
    )
    assert engine.run("cat /m/f", volume("parts", "/m", Subpath="sub/deep")) == "x\n"
    assert engine.run("cat /m/deep/f", volume("parts", "/m", Subpath="in")) == "x\n"
    assert engine.run("cat /m", volume("parts", "/m", Subpath="sub/deep/f")) == "x\n"
    with pytest.raises(SkiffError):
        engine.run("ls /m", volume("parts", "/m", Subpath="out"))
    for path in ("../parts", "/sub", "sub/../../x"):
        with pytest.raises(BadRequestError, match="subpath must be a relative path within the volume"):
            engine.run("true", volume("parts", "/m", Subpath=path))
    with pytest.raises(NotFoundError, match=r"cannot access path .*/gone: lstat .*: no such file or directory"):
        engine.run("true", volume("parts", "/m", Subpath="gone"))
    engine.client.remove_volume("parts")


def create(engine, name, **options):
    return engine.client.create_volume({"Name": name, "DriverOpts": options, "Labels": {"l": "1"}})


def test_driver_options_bind_a_directory_of_the_host(engine, tmp_path):
    (tmp_path / "f").write_text("host")
    document = create(engine, "bound", type="none", o="bind", device=str(tmp_path))
    assert (document["Labels"], document["Options"]["device"]) == ({"l": "1"}, str(tmp_path))
    assert engine.run("cat /v/f; echo new > /v/g", volume("bound", "/v")) == "host"
    create(engine, "bound-ro", type="none", o="bind,ro", device=str(tmp_path))
    assert "Read-only file system" in engine.run("echo > /v/h", volume("bound-ro", "/v"))
    engine.client.remove_volume("bound")
    engine.client.remove_volume("bound-ro")
    assert (tmp_path / "g").read_text() == "new\n"
    create(engine, "lost", type="none", o="bind", device=str(tmp_path / "gone"))
    with pytest.raises(BadRequestError, match=r"error while mounting volume 'lost'.*gone: no such file or directory"):
        engine.run("true", volume("lost", "/v"))
    engine.client.remove_volume("lost")


def test_driver_options_make_a_tmpfs_that_containers_share_until_it_is_removed(engine):
    create(engine, "memory", type="tmpfs", device="tmpfs", o="size=1m,mode=700,uid=1000")
    said = engine.run("grep ' /v ' /proc/mounts; stat -c '%u %a' /v; echo kept > /v/f", volume("memory", "/v"))
    assert "tmpfs /v tmpfs" in said
    assert "size=1024k" in said
    assert said.endswith("1000 700\n")
    assert engine.run("cat /v/f; head -c 2m /dev/zero > /v/big", volume("memory", "/v")).startswith("kept\n")
    engine.client.remove_volume("memory")
    assert str(engine.data("memory")) not in subprocess.run(["mount"], capture_output=True, text=True).stdout
    assert not engine.data("memory").exists()


def test_options_of_other_filesystems_are_refused(engine):
    with pytest.raises(BadRequestError, match="volumes of type nfs are not supported"):
        create(engine, "nfs", type="nfs", o="addr=127.0.0.1", device=":/x")
    with pytest.raises(NotFoundError):
        engine.client.json("GET", "/volumes/nfs")


def test_a_used_volume_stays(engine):
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Binds": ["used:/v"]}}
    id = engine.client.create_container(body)["Id"]
    with pytest.raises(ConflictError, match="volume is in use"):
        engine.client.remove_volume("used")
    engine.client.remove(id, force=True)
    engine.client.remove_volume("used")


def test_files_sockets_and_devices_are_bound_as_what_they_are(engine, tmp_path):
    (tmp_path / "f").write_text("a file")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    said = engine.run(
        "cat /etc/passwd /new/f; test -S /run/s && echo socket; test -c /null && echo device",
        bind(tmp_path / "f", "/etc/passwd"),
        bind(tmp_path / "f", "/new/f"),
        bind(tmp_path / "s", "/run/s"),
        bind("/dev/null", "/null"),
    )
    listener.close()
    assert said == "a filea filesocket\ndevice\n"


def test_a_mount_below_another_lies_in_it_however_they_are_ordered(engine, tmp_path):
    for name in ("outer/inner", "inner"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "inner/f").write_text("inner")
    assert engine.run("cat /o/inner/f", bind(tmp_path / "inner", "/o/inner"), bind(tmp_path / "outer", "/o")) == "inner"
    said = engine.run(
        "echo x > /t/v/f; ls /t; cat /t/v/f",
        volume("nested", "/t/v"),
        {"Type": "tmpfs", "Target": "/t"},
        image="busybox",
    )
    assert said == "v\nx\n"
    engine.client.remove_volume("nested")


def test_a_link_of_the_image_in_a_mounts_place_leads_nowhere_else(engine, tmp_path):
    (tmp_path / "f").write_text("x")
    before = os.listdir("/etc")
    assert engine.run("cat /etc/inside/f", bind(tmp_path, "/link"), image="filled") == "x"
    assert engine.run("cat /etc/skiff-test/f", bind(tmp_path, "/up/skiff-test"), image="filled") == "x"
    assert os.listdir("/etc") == before


def test_read_only_binds_are_so_all_the_way_down(engine, tmp_path):
    (tmp_path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "below"], check=True)
    try:
        said = engine.run("touch /b/f; touch /b/below/f", bind(tmp_path, "/b", read_only=True))
        assert said.count("Read-only file system") == 2
        assert engine.run("touch /b/below/f; ls /b/below", bind(tmp_path, "/b", NonRecursive=True)) == "f\n"
        assert not (tmp_path / "below/f").exists()
    finally:
        subprocess.run(["umount", tmp_path / "below"], check=True)


def test_a_missing_source_is_reported_or_created(engine, tmp_path):
    with pytest.raises(
        BadRequestError, match='invalid mount config for type "bind": bind source path does not exist: '
    ):
        engine.run("true", bind(tmp_path / "gone", "/b"))
    engine.run("true", bind(tmp_path / "made/deep", "/b", CreateMountpoint=True))
    assert (tmp_path / "made/deep").is_dir()
    engine.run("true", Binds=[f"{tmp_path}/also:/b:z"])
    assert (tmp_path / "also").is_dir()
    for source, problem in (("relative", "must be absolute"), ("", "must be absolute")):
        with pytest.raises(BadRequestError, match=problem):
            engine.run("true", bind(source, "/b"))
    with pytest.raises(BadRequestError, match="invalid propagation mode"):
        engine.run("true", bind(tmp_path, "/b", Propagation="upwards"))


def test_a_tmpfs_has_its_size_mode_and_options(engine):
    options = {"SizeBytes": 1 << 20, "Mode": 0o1750, "Options": [["exec"], ["uid", "1000"]]}
    said = engine.run(
        "grep ' /t ' /proc/mounts; stat -c '%u %a' /t", {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": options}
    )
    assert said.endswith("1000 1750\n")
    assert "size=1024k" in said
    assert "noexec" not in said
    read_only = {"Type": "tmpfs", "Target": "/t", "ReadOnly": True}
    assert "Read-only file system" in engine.run("touch /t/f", read_only)


def test_a_tmpfs_over_a_directory_has_its_mode(engine):
    tmpfs = {"Type": "tmpfs"}
    said = engine.run(
        "stat -c %a /etc /tmp /new /given",
        {**tmpfs, "Target": "/etc"},
        {**tmpfs, "Target": "/tmp"},
        {**tmpfs, "Target": "/new"},
        {**tmpfs, "Target": "/given", "TmpfsOptions": {"Mode": 0o700}},
    )
    assert said.split() == ["755", "1777", "1777", "700"]


def test_an_image_is_mounted_for_reading(engine):
    mount = {"Type": "image", "Source": "filled", "Target": "/i"}
    said = engine.run("exec 2>&1; cat /i/data/f; test -x /i/bin/busybox && echo applet; touch /i/x", mount)
    assert said.startswith("content\napplet\n")
    assert "Read-only file system" in said
    assert engine.run("cat /i/f", {**mount, "ImageOptions": {"Subpath": "data"}}) == "content\n"
    with pytest.raises(NotFoundError, match="No such image"):
        engine.run("true", {**mount, "Source": "nowhere:1"})
    with pytest.raises(NotFoundError, match="cannot access path gone in image filled"):
        engine.run("true", {**mount, "ImageOptions": {"Subpath": "gone"}})
    id = engine.client.create_container({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Mounts": [mount]}})["Id"]
    with pytest.raises(ConflictError, match="is using its"):
        engine.client.remove_image("filled")
    engine.client.remove(id, force=True)


def test_volumes_of_another_container_are_taken_over(engine):
    body = {"Image": "busybox", "Cmd": ["sh", "-c", "echo x > /v/f"], "HostConfig": {"Binds": ["lent:/v"]}}
    id = engine.client.create_container(body, name="lender")["Id"]
    engine.client.start(id)
    engine.client.wait(id)
    assert engine.run("cat /v/f", VolumesFrom=["lender"]) == "x\n"
    assert "Read-only file system" in engine.run("echo > /v/f", VolumesFrom=["lender:ro"])
    engine.client.remove(id, force=True)
    engine.client.remove_volume("lent")


def test_what_a_volume_holds_is_kept_private_to_root(engine):
    engine.client.create_volume({"Name": "private"})
    assert stat.S_IMODE(engine.data("private").stat().st_mode) == 0o755
    with pytest.raises(BadRequestError, match="includes invalid characters"):
        engine.client.create_volume({"Name": "../escape"})
    engine.client.remove_volume("private")


def test_a_removed_volume_has_no_name_and_what_a_killed_engine_left_of_it_the_next_one_deletes(home, busybox):
    client = Client(EngineAddress(path=str(home.run / "engine.sock")))
    client.create_volume({"Name": "many"})
    data = home.root / "volumes/many/_data"
    for number in range(50_000):
        (data / str(number)).touch()
    engine = pid_of(home, "engine")
    client.remove_volume("many")
    assert not (home.root / "volumes/many").exists()
    assert client.volumes() == []
    kill_and_wait(engine)
    assert os.listdir(home.root / "trash")
    assert home.get("/volumes")["Volumes"] == []
    eventually(lambda: not os.listdir(home.root / "trash"))
