import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadRequestError
from runtime.image.reference import DIGEST_LENGTHS, Reference, registry_domain

SHA = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("user/image:v1", "docker.io/user/image:v1", "user/image:v1"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1"),
        ("host:5000/deep/path/x", "host:5000/deep/path/x:latest", "host:5000/deep/path/x:latest"),
        ("Host/x", "Host/x:latest", "Host/x:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("127.0.0.1/x", "127.0.0.1/x:latest", "127.0.0.1/x:latest"),
        ("ghcr.io/a-b__c.d/e:V_1.2-x", "ghcr.io/a-b__c.d/e:V_1.2-x", "ghcr.io/a-b__c.d/e:V_1.2-x"),
        (f"busybox@{SHA}", f"docker.io/library/busybox@{SHA}", f"busybox@{SHA}"),
        (f"busybox:1@{SHA}", f"docker.io/library/busybox:1@{SHA}", f"busybox:1@{SHA}"),
    ],
)
def test_names_are_completed_and_shown_as_docker_does(text, full, familiar):
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)


@pytest.mark.parametrize(
    "text",
    [
        "", ":tag", "name:", "name@", "@" + SHA, "a//b", "/a", "a/", "-a", "a-", "a..b", "a___b", "a/B", "Busybox", "a b",
        "name:-x", "name:" + "t" * 129, "a:b:c", "host:port/x", "ho_st.com/x", "-host.com/x", "host.com:/x", "host..com/x",
        "[::1/x", f"a@{SHA}x", "a@sha256:abc", f"a@{SHA.upper()}", "a@md5:" + "0" * 32, f"a@{SHA}@{SHA}", "0" * 64,
        "h.io/" + "a" * 251, "../x", "a\n", "a:b\n",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused(text):
    with pytest.raises(BadRequestError, match="invalid re"):
        Reference.parse(text)


def test_other_registered_digests_are_taken():
    for algorithm, length in DIGEST_LENGTHS.items():
        assert Reference.parse(f"a@{algorithm}:{'0' * length}").digest == f"{algorithm}:{'0' * length}"


@given(st.text(max_size=60) | st.text(alphabet="ab0.:/@-_[]sh256A", max_size=60))
def test_any_text_is_a_reference_that_reads_back_or_is_refused(text):
    try:
        reference = Reference.parse(text)
    except BadRequestError:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("localhost:5000/v2/", "localhost:5000"),
    ],
)
def test_a_servers_address_names_its_domain(address, domain):
    assert registry_domain(address) == domain
