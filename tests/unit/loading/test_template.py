"""Variables in text: every operator, nesting, what is no variable, and what is refused, as the reference has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.loading.template import TemplateError, substitute

VARIABLES = {"SET": "s", "EMPTY": "", "lower": "l", "_U1": "u", "DOLLAR": "$SET", "BRACE": "}"}


def filled(text):
    return substitute(text, VARIABLES.get)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("$SET", "s"),
        ("${SET}", "s"),
        ("$SET$SET", "ss"),
        ("${SET}x${lower}y$_U1", "sxlyu"),
        ("$SETx", ""),
        ("$SET-x", "s-x"),
        ("$UNSET|${UNSET}", "|"),
        # values are not read again
        ("$DOLLAR ${BRACE}x", "$SET }x"),
        # escapes, and dollar signs that are none
        ("$$SET", "$SET"),
        ("$$$SET", "$s"),
        ("$$$$", "$$"),
        ("$", "$"),
        ("a$", "a$"),
        ("$1 $- $( $.", "$1 $- $( $."),
        ("$é", "$é"),
        # default
        ("${SET:-d}${EMPTY:-d}${UNSET:-d}", "sdd"),
        ("${SET-d}${EMPTY-d}${UNSET-d}", "sd"),
        ("${UNSET:-}${UNSET-}", ""),
        ("${UNSET:-a b}", "a b"),
        ("${UNSET:--1}", "-1"),
        ("${UNSET:-:-}", ":-"),
        ("${UNSET-:-x}", ":-x"),
        ("${UNSET:-a:b?c+d}", "a:b?c+d"),
        ("${UNSET:-/a/b:c}", "/a/b:c"),
        ("${UNSET:-$SET}", "s"),
        ("${UNSET:-$$SET}", "$SET"),
        # presence
        ("${SET:+p}${EMPTY:+p}${UNSET:+p}", "p"),
        ("${SET+p}${EMPTY+p}${UNSET+p}", "pp"),
        ("${SET:+$lower}", "l"),
        # required
        ("${SET:?e}${SET?e}${EMPTY?e}", "ss"),
        # nesting
        ("${UNSET:-${SET}}", "s"),
        ("${UNSET:-${UNSET:-${SET}}}x", "sx"),
        ("${UNSET:-a${SET}b${lower:-x}c}", "asblc"),
        ("${SET:+${UNSET:-${lower}}}", "l"),
        # several on a line, each to its own brace
        ("${UNSET:-a}-${UNSET:-b}", "a-b"),
        ("${UNSET:-a}}", "a}"),
        ("{${UNSET:-a}}", "{a}"),
        ('{"a": "${UNSET:-x}", "b": {"c": "${SET}"}}', '{"a": "x", "b": {"c": "s"}}'),
        ('${UNSET:-{"a": "b"}}', '{"a": "b"}'),
        # a brace right behind an opening one counts for nothing, so these end at the last of the line
        ("${UNSET:-{}}", "{}"),
        ("${UNSET:-{}} x}", "{}} x"),
        # an argument ends in its line
        ("${UNSET:-a}\n${UNSET:-b}", "a\nb"),
    ],
)
def test_variables_are_replaced(text, value):
    assert filled(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${", "a closing brace is missing"),
        ("${SET", "a closing brace is missing"),
        ("${UNSET:-a\n}", "a closing brace is missing"),
        ("${}", "a variable's name is missing"),
        ("${ SET}", "a variable's name is missing"),
        ("${1}", "a variable's name is missing"),
        ("${SET }", "after the name come"),
        ("${SET!x}", "after the name come"),
        ("${SET:x}", "after the name come"),
        ("${SET:}", "after the name come"),
        ("${a.b}", "after the name come"),
        ("$${SET} ${", "a closing brace is missing"),
        # what nobody needs must be a good template too
        ("${SET:-${}}", "a variable's name is missing"),
        ("${UNSET:?}", "required variable UNSET is missing a value"),
        ("${UNSET?why}", "required variable UNSET is missing a value: why"),
        ("${EMPTY:?why $SET}", "required variable EMPTY is missing a value: why s"),
        ("${UNSET:-${ALSO:?}}", "required variable ALSO is missing a value"),
        ("${A:-" * 60 + "}" * 60, "nested more than 50 levels deep"),
    ],
)
def test_what_is_no_template_is_reported(text, problem):
    with pytest.raises(TemplateError) as told:
        filled(text)
    assert problem in str(told.value)


def test_every_mention_is_noted_with_its_operator_also_where_its_value_is_not_needed():
    noted = []
    substitute("$A ${B} ${SET:-${C:-x}} ${D+y}", VARIABLES.get, noted.append)
    assert [(each.name, each.operator, each.argument) for each in noted] == [
        ("A", "", ""),
        ("B", "", ""),
        ("SET", ":-", "${C:-x}"),
        ("C", ":-", "x"),
        ("D", "+", "y"),
    ]


def test_a_line_may_have_any_number_of_variables():
    assert filled("${UNSET:-x}" * 5000) == "x" * 5000


PIECES = st.lists(
    st.sampled_from(["$", "${", "}", "{", "A", "B", "SET", ":-", "-", ":?", "?", ":+", "+", "$$", " ", "\n", "x"]),
    max_size=16,
).map("".join)


@given(PIECES | st.text(max_size=20))
def test_any_text_is_replaced_or_refused_as_a_template(text):
    told = ""
    try:
        told = filled(text)
    except TemplateError as error:
        told = str(error)
    assert isinstance(told, str)


@given(st.text(max_size=30))
def test_a_text_whose_dollar_signs_are_doubled_stands_for_itself(text):
    assert filled(text.replace("$", "$$")) == text


@given(st.text("ab:-?+ /.", max_size=8), st.sampled_from([":-", "-", ":+", "+"]))
def test_an_operator_chooses_between_the_value_and_its_argument(argument, operator):
    for name, value in (("SET", "s"), ("EMPTY", ""), ("UNSET", None)):
        counts = value is not None and (value != "" or ":" not in operator)
        wanted = (argument if counts else value or "") if "+" in operator else (value if counts else argument)
        assert filled(f"${{{name}{operator}{argument}}}") == wanted
