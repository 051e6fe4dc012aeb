import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.render.template import formatted
from runtime.errors import SkiffError

ROWS = [{"Name": "web-1", "State": "running", "Labels": {"a": "b"}}, {"Name": "db-1", "State": "exited", "Labels": {}}]
COLUMNS = (("NAME", "Name"), ("STATUS", "State"))


def test_a_table_has_the_columns_titles():
    assert formatted("", ROWS, COLUMNS) == "NAME    STATUS\nweb-1   running\ndb-1    exited"
    assert formatted("table", [], COLUMNS) == "NAME   STATUS"


def test_json_is_a_document_a_line_or_a_list():
    assert [json.loads(line) for line in formatted("json", ROWS, COLUMNS).splitlines()] == ROWS
    assert json.loads(formatted("json", ROWS, COLUMNS, as_list=True)) == ROWS


def test_a_template_is_filled_in_for_each_row():
    assert formatted(r"{{.Name}}\t{{ .State }}!", ROWS, COLUMNS) == "web-1\trunning!\ndb-1\texited!"
    assert formatted("{{json .Labels}}", ROWS, COLUMNS) == '{"a":"b"}\n{}'
    assert formatted("{{.Labels.a}}", ROWS[:1], COLUMNS) == "b"
    assert json.loads(formatted("{{json .}}", ROWS[:1], COLUMNS)) == ROWS[0]


FULL = {
    "Name": "web-1",
    "State": "running",
    "ExitCode": 0,
    "Labels": "a=b,c.d=e",
    "Publishers": [{"URL": "::", "PublishedPort": 80}, {"URL": "", "PublishedPort": 0}],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('{{.Label "c.d"}}{{.Label "none"}}', "e"),
        ("{{range .Publishers}}{{.URL}}:{{.PublishedPort}} {{end}}", ":::80 :0 "),
        ("{{range .Publishers}}{{if .URL}}{{$.Name}}{{else}}-{{end}}{{end}}", "web-1-"),
        ('{{if eq .State "exited"}}no{{else if eq .State "x" "running"}}yes{{else}}?{{end}}', "yes"),
        ("{{if and .Name (not .ExitCode)}}fine{{end}}", "fine"),
        ("{{with .Publishers}}{{len .}}{{end}}", "2"),
        ('{{.Name | upper | printf "%-7s|"}}', "WEB-1  |"),
        ('{{printf "%s is %v (%d)" .Name .State .ExitCode}}', "web-1 is running (0)"),
        ('{{join (split .Labels ",") " "}} {{truncate .Name 3}}', "a=b c.d=e web"),
        ("{{(index .Publishers 0).URL}}", "::"),
        ("{{index .Publishers 0}}", "map[PublishedPort:80 URL:::]"),
        ("a {{- /* nothing */ -}} {{ .Name -}} b", "aweb-1b"),
        ("{{`raw`}}{{true}}{{1.5}}{{len .Publishers | eq 2}}", "rawtrue1.5true"),
    ],
)
def test_templates_mean_what_they_mean_in_go(template, text):
    assert formatted(template, [FULL], COLUMNS) == text


def test_a_table_of_a_template_is_aligned_under_titles():
    assert formatted(r"table {{.Name}}\t{{.State}}", ROWS, COLUMNS) == "NAME    STATUS\nweb-1   running\ndb-1    exited"


@pytest.mark.parametrize("template", [
    "{{.Nmae}}", "{{range .Name}}x{{end}}", "{{frob .Name}}", "{{.Name .State}}", "{{if .Name}}x", "{{end}}", "{{", "{{}}",
    '{{"x}}', "{{index .Labels}}x{{len}}", "{{lt .Name 1}}", '{{printf "%d" .Name}}', "{{if .Name}}" * 5000, "{{)}}",
    "{{json (.Name}}", "{{.Name.x}}", "{{else}}",
])  # fmt: skip
def test_what_is_not_understood_is_refused(template):
    with pytest.raises(SkiffError, match="--format"):
        formatted(template, ROWS, COLUMNS)


@given(st.text(alphabet=st.characters(exclude_characters="\\{}")))
def test_text_without_fields_comes_out_as_it_is(text):
    if text not in ("", "table", "json") and not text.startswith("table "):
        assert formatted(text, ROWS[:1], COLUMNS) == text


PARTS = [
    "{{",
    "}}",
    "if ",
    "range ",
    "end",
    "else",
    ".Name",
    ".",
    "(",
    ")",
    "|",
    "json ",
    '"x"',
    " ",
    "len ",
    "-",
    "$",
    "1",
    "x",
]


@given(st.text() | st.lists(st.sampled_from(PARTS)).map("".join))
def test_a_template_raises_nothing_but_skiff_errors(text):
    with contextlib.suppress(SkiffError):
        formatted(text, ROWS, COLUMNS)
