"""YAML documents: keys, merge keys, tags, anchors and several documents of a file, as the reference reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.errors import ConfigError
from compose.loading.document import parse


def content(text):
    (document,) = parse(text.encode(), "f.yaml")
    return document.content


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a: &x {b: 1}, c: {<<: *x, d: 2}}", {"a": {"b": 1}, "c": {"d": 2, "b": 1}}),
        # what a mapping says itself counts, wherever the merge key stands
        ("{a: &x {b: 1}, c: {b: 2, <<: *x}}", {"a": {"b": 1}, "c": {"b": 2}}),
        # of several the first
        (
            "{a: &x {k: 1}, b: &y {k: 2, l: 3}, c: {<<: [*x, *y]}}",
            {"a": {"k": 1}, "b": {"k": 2, "l": 3}, "c": {"k": 1, "l": 3}},
        ),
        ("{a: {<<: {b: 1}}}", {"a": {"b": 1}}),
        ('{a: {"<<": 1}}', {"a": {"<<": 1}}),
        ("{on: 1, yes: 2}", {"on": 1, "yes": 2}),
        ("{a: &x 1, b: *x}", {"a": 1, "b": 1}),
        ("{a: &x {b: !override 5}, c: !other 5, d: !!str 5}", {"a": {"b": "5"}, "c": "5", "d": "5"}),
        ("{a: [1, !reset 2, 3], b: !reset [x]}", {"a": [1, 3]}),
        (
            "{x-a: 2024-01-02, b: {x-c: [2024-01-02]}}",
            {"x-a": "2024-01-02T00:00:00Z", "b": {"x-c": ["2024-01-02T00:00:00Z"]}},
        ),
        ("a: |\n  b\n  c\n", {"a": "b\nc\n"}),
        ("a: >-\n  b\n  c\n", {"a": "b c"}),
        ("a: '5'\nb: \"x\\ty\"\n", {"a": "5", "b": "x\ty"}),
        ("%YAML 1.1\n---\na: yes\n", {"a": "yes"}),
        ("\ufeffa: 1\n", {"a": 1}),
    ],
)
def test_a_document_is_what_the_reference_reads(text, value):
    assert content(text) == value


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("a: 1\na: 2\n", 2, 1, 'key "a" is in line 1 already'),
        ("a: {b: &x {}, c: {<<: *x, <<: *x}}", 1, 27, '"<<" is there already'),
        ("a: {<<: 5}", 1, 9, "takes a mapping"),
        ("a: {<<: }", 1, 9, "takes a mapping"),
        ("a: {<<: [[{b: 1}]]}", 1, 9, "takes a mapping"),
        ("1: a", 1, 1, "a key must be a string, not 1"),
        ("true: a", 1, 1, "a key must be a string, not true"),
        ("~: a", 1, 1, "a key must be a string, not null"),
        ("? [a]\n: b", 1, 3, "a key must be a string"),
        ("2024-01-02: a", 1, 1, "a key must be a string, not 2024-01-02"),
        ("a: *b", 1, 4, 'unknown anchor "b"'),
        ("a: &a\n  b: *a\n", 2, 6, 'anchor "a" contains itself'),
        ("a: !!int x", 1, 4, "not of type !!int"),
        ("a: [b", 2, 1, "the [ of line 1, column 4 is not closed"),
        ("a: {b: c\nd: e\n", 2, 2, "the { of line 1, column 4 is not closed"),
        ("a: b: c", 1, 5, "put a value that has a colon and a blank in quotes"),
        ("a:\n\t- b", 2, 1, "a tab is where YAML wants spaces"),
        ("a:\n  b: 1\n\tc: 2\n", 3, 1, "indent with spaces"),
        ("a: 'b", 1, 4, "not valid YAML: the quote ' is not closed"),
        ('a: "b\nc: d\ne: f\n', 1, 4, 'the quote " is not closed'),
        ("a: @b", 1, 4, "@ cannot begin a value"),
        ("{{ .Values.x }}", 1, 2, "a key must be a string"),
    ],
)
def test_what_is_no_document_is_reported_with_its_place(text, line, column, problem):
    with pytest.raises(ConfigError) as told:
        content(text)
    assert problem in str(told.value)
    assert (told.value.file, told.value.line, told.value.column) == ("f.yaml", line, column)


def test_a_file_may_have_several_documents_with_anchors_of_their_own():
    assert [each.content for each in parse(b"a: &x 1\n---\nb: 2\n...\n---\nc: 3\n", "f")] == [
        {"a": 1},
        {"b": 2},
        {"c": 3},
    ]
    with pytest.raises(ConfigError, match="unknown anchor"):
        parse(b"a: &x 1\n---\nb: *x\n", "f")


def test_nothing_and_comments_are_no_document_but_a_line_of_dashes_begins_one():
    assert parse(b"", "f") == parse(b"# only this\n", "f") == []
    assert [each.content for each in parse(b"---\n", "f")] == [None]
    assert [each.content for each in parse(b"a: 1\n---\n", "f")] == [{"a": 1}, None]


def test_what_is_tagged_is_known_by_its_path_also_through_anchors_and_merge_keys():
    (document,) = parse(b"x: &x {p: !override [1], q: {r: !reset 0}}\ns: {a: {<<: *x}, b: *x}\n", "f")
    assert set(document.replaced) == {
        ("x", "p"), ("x", "q", "r"), ("s", "a", "p"), ("s", "a", "q", "r"), ("s", "b", "p"), ("s", "b", "q", "r"),
    }  # fmt: skip
    assert document.content == {"x": {"p": [1], "q": {}}, "s": {"a": {"p": [1], "q": {}}, "b": {"p": [1], "q": {}}}}


@given(st.text("a:-[]{}&*!|>'\"#\n\t ,?<%@`1~.\x00é\u2028", max_size=40))
def test_whatever_the_text_it_is_documents_or_a_config_error_with_a_place(text):
    told = []
    try:
        parse(text.encode(), "f")
    except ConfigError as error:
        told.append(error)
    assert all(error.file == "f" and error.line for error in told)
