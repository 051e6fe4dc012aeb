from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.build.errors import DockerfileError
from runtime.build.expansion import expand, expand_text

VARIABLES = {"name": "value", "empty": "", "path": "a/b/c.tar.gz", "star": "*b*", "question": "a?b"}


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("$name", "value"),
        ("${name}x", "valuex"),
        ("$unset.", "."),
        ("\\$name", "$name"),
        ("'$name'", "$name"),
        ('"$name"', "value"),
        ('"a\\"b"', 'a"b'),
        ('"a\\nb"', "a\\nb"),
        ("a\\ b", "a b"),
        ("${unset:-other}", "other"),
        ("${empty:-other}", "other"),
        ("${empty-other}", ""),
        ("${name:+set}", "set"),
        ("${empty:+set}", ""),
        ("${empty+set}", "set"),
        ("${unset:-${name}}", "value"),
        ("${unset:-'a}b'}", "a}b"),
        ("${path#*/}", "b/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "a/b/c.tar"),
        ("${path%%.*}", "a/b/c"),
        ("${path/b/x}", "a/x/c.tar.gz"),
        ("${path//a/x}", "x/b/c.txr.gz"),
        ("${star#\\*}", "b*"),
        ("${star%\\*}", "*b"),
        ("${star/\\*/x}", "xb*"),
        ("${star//\\*/x}", "xbx"),
        ("${star/b/\\}}", "*}*"),
        ("${question//\\?/x}", "axb"),
        ("${question//?/x}", "xxx"),
        ("${path//\\//-}", "a-b-c.tar.gz"),
        ("${path#${unset:-a}}", "/b/c.tar.gz"),
        ("5$", "5$"),
        ("$ x", "$ x"),
    ],
)
def test_words_expand_as_the_reference_says(word, expanded):
    assert expand(word, VARIABLES) == expanded


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("${name", "missing '}'"),
        ("'name", "single-quote"),
        ('"name', "double-quote"),
        ("${name:=x}", "unsupported modifier"),
        ("${}", "bad substitution"),
        ("${unset:?is needed}", "unset: is needed"),
        ("${unset?}", "not allowed to be unset"),
    ],
)
def test_mistakes_in_words_are_named(word, problem):
    with pytest.raises(DockerfileError, match=problem):
        expand(word, VARIABLES)


def test_documents_keep_their_quotes():
    assert expand_text("'$name' \"x\" \\$name", VARIABLES) == "'value' \"x\" $name"


def test_documents_lose_every_backslash_as_with_buildkit():
    assert expand_text("a\\nb \\\\ c\\\n\\", VARIABLES) == "anb \\ c\n"


@given(st.text(alphabet=st.characters(exclude_characters="$\\'\"")))
def test_text_without_special_characters_stays(text):
    assert expand(text, {}) == text


@given(st.text())
def test_every_word_expands_or_is_refused(word):
    with suppress(DockerfileError):
        expand(word, VARIABLES)


@given(st.text(alphabet=st.characters(exclude_characters="'")), st.text())
def test_single_quotes_protect_everything(text, value):
    assert expand(f"'{text}'", {"name": value}) == text


@given(st.text(), st.text())
def test_a_value_is_not_expanded_again(value, other):
    assert expand("$name", {"name": value, "x": other}) == value
