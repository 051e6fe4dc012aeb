"""Images by docker-py: built, tagged, moved between engine, archives and a registry."""

import gzip
import io
import tarfile

import docker
import pytest

from tests.support.registry import LocalRegistry

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def registry():
    registry = LocalRegistry()
    yield registry
    registry.stop()


@pytest.fixture(autouse=True)
def busybox_alone(client):
    """Leave no image but busybox behind."""
    yield
    for image in client.images.list():
        for tag in image.tags or [image.id]:
            if tag != "busybox:latest":
                client.images.remove(tag, force=True)


def context(dockerfile, **files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in {"Dockerfile": dockerfile, **files}.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    out.seek(0)
    return out


def test_a_build_takes_every_option(client):
    image, log = client.images.build(
        fileobj=context("FROM busybox AS one\nARG WORD\nRUN echo $WORD; cat /etc/hosts\nFROM busybox\nRUN false\n"),
        custom_context=True, tag="py-built:1", target="one", buildargs={"WORD": "said"}, labels={"l": "m"}, nocache=True,
        rm=True, forcerm=True, pull=False, shmsize=64 << 20, extra_hosts={"friend": "10.9.9.9"}, network_mode="none",
        container_limits={"memory": 64 << 20, "memswap": 128 << 20, "cpushares": 100, "cpusetcpus": "0"},
        cache_from=["busybox"], platform="linux/amd64", isolation="default",
    )  # fmt: skip
    text = "".join(line.get("stream", "") for line in log)
    assert "said\n" in text
    assert "10.9.9.9\tfriend" in text
    assert f"Successfully built {image.id[7:19]}\nSuccessfully tagged py-built:1\n" in text
    assert (image.tags, image.labels) == (["py-built:1"], {"l": "m"})


def test_contexts_come_as_folders_archives_or_a_dockerfile_alone(client, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY file /file\n")
    (tmp_path / "file").write_text("content")
    whole = context("FROM busybox\nCOPY file /file\n", file="content")
    ids = {
        client.images.build(path=str(tmp_path), gzip=True, tag="py-context")[0].id,
        client.images.build(path=str(tmp_path), tag="py-context")[0].id,
        client.images.build(fileobj=io.BytesIO(gzip.compress(whole.getvalue())), custom_context=True, encoding="gzip")[
            0
        ].id,
    }
    assert len(ids) == 1
    assert client.containers.run("py-context", "cat /file", remove=True) == b"content"
    alone = client.images.build(fileobj=io.BytesIO(b"FROM busybox\nENV A=b\n"))[0]
    assert "A=b" in alone.attrs["Config"]["Env"]
    elsewhere = context("nonsense", sub__File="FROM busybox\nENV B=c\n")
    assert client.images.build(fileobj=elsewhere, custom_context=True, dockerfile="sub/File")[0].tags == []


def test_builds_fail_as_docker_py_expects(client):
    with pytest.raises(docker.errors.BuildError, match="The command '/bin/sh -c exit 5' returned a non-zero code: 5"):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 5\n"))
    for dockerfile, options, message in (
        ("FRM busybox", {}, "unknown instruction: FRM"),
        ("FROM busybox", {"squash": True}, "squash is not supported"),
        ("FROM busybox", {"dockerfile": "Other"}, "Cannot locate specified Dockerfile: Other"),
    ):
        with pytest.raises(docker.errors.APIError) as caught:
            client.images.build(fileobj=context(dockerfile), custom_context=True, **options)
        assert (caught.value.status_code, message in caught.value.explanation) == (400, True)


def test_lists_and_inspections_have_dockers_members(client):
    row = client.api.images(name="busybox")[0]
    assert {key: row[key] for key in ("ParentId", "SharedSize", "Containers", "Labels", "RepoTags", "RepoDigests")} == {
        "ParentId": "", "SharedSize": -1, "Containers": 0, "Labels": None, "RepoTags": ["busybox:latest"],
        "RepoDigests": [],
    }  # fmt: skip
    image = client.images.get("busybox")
    assert image.attrs["GraphDriver"]["Data"]["UpperDir"].startswith("/")
    assert image.attrs["RootFS"]["Type"] == "layers"
    assert image.history()[0]["Id"] == client.images.get(image.short_id).id == image.id
    assert client.images.list(filters={"reference": "busy*", "before": "busybox"}) == []
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("busybox:no-such-tag")


def test_clients_before_version_1_50_find_every_member_of_an_images_configuration(shared_home, client):
    old = docker.APIClient(base_url=shared_home.host, version="1.44")
    assert old.inspect_image("busybox")["Config"].keys() >= {"Hostname", "Tty", "Labels", "Volumes", "OnBuild"}
    assert "Hostname" not in client.images.get("busybox").attrs["Config"]
    old.close()


def test_images_are_saved_loaded_and_imported(client):
    image = client.images.get("busybox")
    image.tag("py-saved/image", "v1")
    image.reload()
    data = b"".join(image.save(named="py-saved/image:v1"))
    client.images.remove("py-saved/image:v1")
    assert client.images.load(data) == [client.images.get("py-saved/image:v1")]
    for garbage in (b"", b"garbage" * 100):
        with pytest.raises(docker.errors.ImageLoadError, match="the archive can't be read"):
            client.images.load(garbage)
    root = b"".join(client.containers.create("busybox", name="py-exported").export())
    client.containers.get("py-exported").remove()
    client.api.import_image_from_data(root, repository="py-imported", tag="1", changes=["CMD echo imported"])
    assert client.containers.run("py-imported:1", remove=True) == b"imported\n"


def test_images_in_use_or_with_several_names_are_kept(client, create):
    image = client.images.get("busybox")
    image.tag("py-other")
    container = create("true")
    for name, message in ((image.id, "image is referenced in multiple repositories"), ("py-nothing", "No such image")):
        with pytest.raises(docker.errors.APIError, match=message):
            client.images.remove(name)
    client.images.remove("py-other")
    with pytest.raises(docker.errors.APIError, match=f"container {container.name} is using its referenced image"):
        client.images.remove("busybox")


def test_a_registry_is_pushed_to_and_pulled_from_one_tag_or_all(client, registry):
    name = f"{registry.domain}/py/image"
    image = client.images.get("busybox")
    for tag in ("one", "two"):
        image.tag(name, tag)
        assert list(client.images.push(name, tag, stream=True, decode=True))[-1]["aux"]["Tag"] == tag
        client.images.remove(f"{name}:{tag}")
    assert client.images.get_registry_data(f"{name}:one").has_platform("linux/amd64")
    assert set(client.images.pull(name, "one").tags) == {"busybox:latest", f"{name}:one"}
    client.images.remove(f"{name}:one")
    pulled = client.images.pull(name, all_tags=True)
    assert {tag for image in pulled for tag in image.tags} >= {f"{name}:one", f"{name}:two"}
    with pytest.raises(docker.errors.NotFound):
        client.images.pull(name, "three")


def test_a_prune_of_the_build_cache_spares_what_is_young_or_wanted(client):
    client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN echo kept > /kept\n"))
    assert client.api.prune_builds(filters={"until": "1h"})["CachesDeleted"] is None
    assert client.api.prune_builds(keep_storage=1 << 40)["CachesDeleted"] is None
    assert client.api.prune_builds(all=True)["CachesDeleted"]
    with pytest.raises(docker.errors.APIError, match="invalid filter 'colour'"):
        client.api.prune_builds(filters={"colour": "red"})
