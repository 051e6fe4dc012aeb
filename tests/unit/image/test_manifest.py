import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadRequestError, NotFoundError
from runtime.image.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    Platform,
    diff_ids,
    image_manifest,
    parse,
)

SHA = "sha256:" + "0" * 64


def entry(platform, number=0, **more):
    document = {"mediaType": "m", "digest": f"sha256:{number:064}", "size": 1, **more}
    if platform:
        os, architecture, *variant = platform.split("/")
        document["platform"] = {"os": os, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
    return document


def index(*platforms):
    return parse(json.dumps({"manifests": [entry(p, n) for n, p in enumerate(platforms)]}).encode(), OCI_INDEX)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/armhf", "linux/arm/v7"),
        ("LINUX/ARM/V6", "linux/arm/v6"),
    ],
)
def test_platforms_have_one_way_to_be_written(text, shown):
    assert str(Platform.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d"])
def test_what_is_no_platform_is_refused(text):
    with pytest.raises(BadRequestError, match="invalid platform"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", 1),
        (["linux/arm64/v8"], "linux/arm64", 0),
        (["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7", 1),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", 1),
        (["linux/amd64/v3", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64/v2", "linux/amd64/v4", "linux/amd64/v3"], "linux/amd64/v3", 3),
        (["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v3", 1),
        (["linux/386", "linux/amd64"], "linux/amd64/v2", 1),
        (["linux/386", "linux/amd64/v3"], "linux/amd64/v2", 0),
        (["linux/x86_64"], "linux/amd64", 0),
        (["unknown/unknown", "linux/amd64"], "linux/amd64", 1),
        (["", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
    ],
)
def test_the_best_manifest_for_a_platform_is_chosen(offered, wanted, chosen):
    assert index(*offered).select(Platform.parse(wanted), "x").digest == f"sha256:{chosen:064}"


def test_a_platform_that_is_not_there_is_reported_with_those_that_are():
    with pytest.raises(NotFoundError, match="no matching manifest for linux/amd64") as caught:
        index("linux/arm64", "linux/arm/v7", "unknown/unknown").select(Platform.parse("linux/amd64"), "x")
    assert "linux/arm/v7, linux/arm64;" in caught.value.hint
    with pytest.raises(NotFoundError, match="linux/arm/v6"):
        index("linux/arm/v7").select(Platform.parse("linux/arm/v6"), "x")


def test_an_image_and_an_index_are_distinguished():
    layer = {"mediaType": "l", "digest": SHA, "size": 2}
    image = parse(json.dumps({"config": entry(""), "layers": [layer]}).encode(), "")
    assert isinstance(image, Manifest)
    assert image.layers == (Descriptor("l", SHA, 2),)
    assert isinstance(parse(b'{"manifests": []}', DOCKER_LIST), Index)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"x", "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"schemaVersion": 1}', "schema 1"),
        (b"{}", "neither an image nor an index"),
        (b'{"manifests": {}}', "no list"),
        (b'{"manifests": [3]}', "malformed descriptor"),
        (b'{"config": {}, "layers": []}', "malformed descriptor"),
        (b'{"config": {"digest": "x", "size": -1}, "layers": []}', "malformed descriptor"),
    ],
)
def test_what_is_no_manifest_is_named(raw, problem):
    with pytest.raises(BadRequestError, match=problem):
        parse(raw, "")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"rootfs": {}}', b'{"rootfs": {"diff_ids": ["../x"]}}', b"3"])
def test_what_is_no_configuration_is_refused(raw):
    with pytest.raises(BadRequestError, match="no container image"):
        diff_ids(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["manifests", "layers", "config", "digest", "size", "platform", "os", "rootfs", "diff_ids"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_document_is_read_or_refused(document):
    raw = json.dumps(document).encode()
    for read in (lambda: parse(raw, ""), lambda: diff_ids(raw)):
        try:
            read()
        except BadRequestError:
            continue


DOCKER_GZIP, OCI_GZIP = (
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.oci.image.layer.v1.tar+gzip",
)
OCI_ZSTD, OCI_PLAIN = "application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.oci.image.layer.v1.tar"


@pytest.mark.parametrize(
    ("layers", "kind", "written"),
    [
        ((DOCKER_GZIP, OCI_GZIP), DOCKER_MANIFEST, [DOCKER_GZIP, DOCKER_GZIP]),
        ((OCI_PLAIN, DOCKER_GZIP), DOCKER_MANIFEST, ["application/vnd.docker.image.rootfs.diff.tar", DOCKER_GZIP]),
        ((OCI_ZSTD, DOCKER_GZIP), OCI_MANIFEST, [OCI_ZSTD, OCI_GZIP]),
        ((), DOCKER_MANIFEST, []),
    ],
)
def test_a_manifest_never_mixes_dockers_media_types_with_ocis(layers, kind, written):
    descriptors = [Descriptor(layer, f"sha256:{number:064}", 7) for number, layer in enumerate(layers)]
    raw, found = image_manifest(Descriptor("any", f"sha256:{9:064}", 5), descriptors)
    document = json.loads(raw)
    assert found == document["mediaType"] == kind
    assert [layer["mediaType"] for layer in document["layers"]] == written
    assert ("oci" in document["config"]["mediaType"]) == (kind == OCI_MANIFEST)
    assert [layer["digest"] for layer in document["layers"]] == [one.digest for one in descriptors]
