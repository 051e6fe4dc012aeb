"""Files into containers and out of them, by docker-py."""

import gzip
import io
import itertools
import tarfile

import docker
import pytest

pytestmark = pytest.mark.root


def archive(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def content(container, path):
    stream, about = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        return tar.extractfile(about["name"]).read()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, io.BytesIO])
def test_archives_go_in_compressed_or_streamed(start, pack):
    container = start()
    assert container.put_archive("/tmp", pack(archive(f=b"abc")))
    assert container.exec_run("cat /tmp/f").output == b"abc"


def test_a_volume_is_filled_and_read_by_a_container_that_never_ran(create, output, tmp_path):
    binds = {"files-data": {"bind": "/data"}, str(tmp_path): {"bind": "/host"}}
    container = create(host={"binds": binds})
    container.put_archive("/data", archive(f=b"in the volume"))
    container.put_archive("/host", archive(g=b"on the host"))
    assert (tmp_path / "g").read_bytes() == b"on the host"
    assert content(container, "/data/f") == b"in the volume"
    assert output("cat /data/f", host={"binds": ["files-data:/data"]}) == "in the volume"
    assert container.diff() is None or all(not one["Path"].startswith("/data/") for one in container.diff())


def test_a_read_only_root_takes_files_on_its_volumes_alone(create):
    container = create(host={"read_only": True, "binds": ["files-more:/data"]})
    assert container.put_archive("/data", archive(f=b"abc"))
    with pytest.raises(docker.errors.APIError, match="container rootfs is marked read-only") as caught:
        container.put_archive("/tmp", archive(f=b"abc"))
    assert caught.value.status_code == 403


@pytest.mark.parametrize("is_running", [True, False])
def test_where_nothing_can_be_unpacked_is_reported(create, start, is_running):
    container = (start if is_running else create)()
    with pytest.raises(docker.errors.NotFound, match="Could not find the file /none in container"):
        container.put_archive("/none", archive(f=b"abc"))
    with pytest.raises(docker.errors.APIError, match="extraction point is not a directory") as caught:
        container.put_archive("/etc/passwd", archive(f=b"abc"))
    assert caught.value.status_code == 400
    with pytest.raises(docker.errors.APIError) as caught:
        container.put_archive("/tmp", b"no archive" * 100)
    assert caught.value.status_code == 400


def test_a_container_without_changes_has_none(create):
    assert create().diff() is None


def test_what_is_done_with_files_is_reported(client, create):
    container = create()
    container.put_archive("/tmp", archive(f=b"abc"))
    content(container, "/tmp/f")
    b"".join(container.export())
    filters = {"container": container.id, "event": ["extract-to-dir", "archive-path", "export"]}
    told = client.events(since=1, filters=filters, decode=True)
    assert [(event["Action"], event["Actor"]["Attributes"].get("path")) for event in itertools.islice(told, 3)] == [
        ("extract-to-dir", None), ("archive-path", None), ("export", None),
    ]  # fmt: skip
    told.close()
