from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.dockerignore import Ignore
from runtime.errors import BadRequestError

NAME = st.text(alphabet="abcxyz._-", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))
PATH = st.lists(NAME, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("rules", "path", "hidden"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("**/*.md", "docs/deep/README.md", True),
        ("**/*.md", "README.md", True),
        ("docs", "docs/a/b", True),
        ("/docs/", "docs/a", True),
        ("docs/**", "docs/a/b", True),
        ("*/temp*", "a/tempest", True),
        ("*/temp*", "a/b/tempest", False),
        ("temp?", "tempa", True),
        ("temp?", "temp", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("*.md\n!README.md", "README.md", False),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
        ("docs\n!docs/keep", "docs/keep", False),
        ("docs\n!docs/keep", "docs/other", True),
        ("# docs", "docs", False),
        ("./docs", "docs", True),
        (".", "docs", False),
        ("**", "any/thing", True),
        ("**a", "b/a", True),
        ("**a", "ba", False),
        ("a**", "ab/c", True),
        ("\\#a", "#a", True),
        ("\\!a", "!a", True),
        (" # a", "# a", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
    ],
)
def test_patterns_hide_as_docker_says(rules, path, hidden):
    assert Ignore.parse(rules).excludes(path) is hidden


@pytest.mark.parametrize("rules", ["a\n[ab", "a\n!"])
def test_a_malformed_pattern_is_reported_with_its_line(rules):
    with pytest.raises(BadRequestError, match=r"\.dockerignore:2: "):
        Ignore.parse(rules)


@given(PATH, PATH)
def test_a_hidden_directory_hides_what_is_below(directory, inner):
    assert Ignore.parse(directory).excludes(f"{directory}/{inner}")


@given(st.lists(PATH, max_size=5), PATH)
def test_an_exception_at_the_end_wins(rules, path):
    assert not Ignore.parse("\n".join([*rules, f"!{path}"])).excludes(path)


@given(st.text(max_size=40), PATH)
def test_every_file_of_rules_is_read_or_refused(text, path):
    with suppress(BadRequestError):
        Ignore.parse(text).excludes(path)
