"""The addresses of Git repositories, and which commit they mean."""

import pytest

from runtime.build.errors import DockerfileError
from runtime.build.git import GitSource, commit_of, is_git, parse_git

ONE, TWO, TAG = "1" * 40, "2" * 40, "3" * 40
LISTED = "".join(
    f"{commit}\t{name}\n"
    for commit, name in (
        (TWO, "HEAD"), (TWO, "refs/heads/main"), (ONE, "refs/heads/v2"), (ONE, "refs/tags/v1"), (TAG, "refs/tags/v2"),
        (TWO, "refs/tags/v2^{}"),
    )
)  # fmt: skip
URL = "https://host/user/repo.git"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (URL, True),
        (f"{URL}#main:folder", True),
        (f"{URL}?branch=main", True),
        ("http://host/repo.git.tar", False),
        ("https://host/repo", False),
        ("https://host/file?x=y.git", False),
        ("git@host:user/repo", True),
        ("git@host:user/repo.git#main", True),
        ("ssh://git@host/repo", True),
        ("git://host/repo", True),
        ("folder/repo.git", False),
        ("a.txt", False),
    ],
)
def test_addresses_of_repositories_are_distinguished_from_others(source, expected):
    assert is_git(source) is expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (URL, GitSource(URL)),
        (f"{URL}#main", GitSource(URL, "main")),
        (f"{URL}#main:a/b", GitSource(URL, "main", "a/b")),
        (f"{URL}#:a", GitSource(URL, "", "a")),
        (f"{URL}?branch=x/y&subdir=a", GitSource(URL, "refs/heads/x/y", "a")),
        (f"{URL}?tag=v1", GitSource(URL, "refs/tags/v1")),
        (f"{URL}?ref=pull/4/head&commit=abcdef0", GitSource(URL, "pull/4/head", checksum="abcdef0")),
        ("git@host:user/repo.git#main:a", GitSource("git@host:user/repo.git", "main", "a")),
        ("ssh://git@host:22/repo#v1", GitSource("ssh://git@host:22/repo", "v1")),
    ],
)
def test_fragment_and_query_say_what_to_check_out(written, expected):
    assert parse_git(written) == expected


@pytest.mark.parametrize(
    ("query", "problem"), [("bogus=1", 'unexpected query "bogus"'), ("commit=xyz", "invalid checksum 'xyz'")]
)
def test_a_query_that_means_nothing_is_refused(query, problem):
    with pytest.raises(DockerfileError, match=problem):
        parse_git(f"{URL}?{query}")


@pytest.mark.parametrize(
    ("ref", "commit"),
    [
        ("", TWO),
        ("main", TWO),
        ("v1", ONE),
        ("v2", ONE),  # a branch comes before a tag
        ("refs/tags/v2", TWO),  # an annotated tag means the commit that it names
        (ONE, ONE),
        ("4" * 40, "4" * 40),
    ],
)
def test_a_ref_means_a_commit(ref, commit):
    assert commit_of(GitSource(URL, ref), LISTED).hash == commit


@pytest.mark.parametrize("ref", ["nope", "HEAD", "mai"])
def test_a_ref_that_is_not_there_is_refused_with_those_that_are(ref):
    with pytest.raises(DockerfileError, match=f"does not contain ref {ref}") as caught:
        commit_of(GitSource(URL, ref), LISTED)
    assert caught.value.hint == "it has main, v1, v2"


def test_another_commit_than_the_expected_one_is_refused():
    assert commit_of(GitSource(URL, "v1", checksum=ONE[:7]), LISTED).hash == ONE
    with pytest.raises(DockerfileError, match=f"expected checksum to match {TWO}, got {ONE}"):
        commit_of(GitSource(URL, "v1", checksum=TWO), LISTED)
