"""The grammar of .env files, env_file and label_file: assignments, quotes, escapes, comments, variables, format raw."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.errors import ConfigError
from compose.loading import dotenv

OUTSIDE = {"OUT": "o", "EMPTY": "", "INHERITED": "i"}


def parsed(text, earlier=None):
    return dotenv.parse(text, "f.env", OUTSIDE.get, earlier=earlier)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("# only a comment", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\nA=2", {"A": "2"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\n\n  A=1\n\t\nB=2", {"A": "1", "B": "2"}),
        ("A=", {"A": ""}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        # around the name and the value
        ("A = 1", {"A": "1"}),
        ("A =  1  ", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("export\tA=1", {"A": "1"}),
        ("exportA=1", {"exportA": "1"}),
        ("export=1", {"export": "1"}),
        ("a.b-c[0]_é=1", {"a.b-c[0]_é": "1"}),
        ("1A=1", {"1A": "1"}),
        # as in YAML
        ("A: 1", {"A": "1"}),
        ("A:1", {"A": "1"}),
        ("A=b=c:d", {"A": "b=c:d"}),
        # a name alone takes the value it has outside
        ("INHERITED\nB=1", {"INHERITED": "i", "B": "1"}),
        ("NOWHERE\nB=1", {"B": "1"}),
        # comments
        ("A=1 # c", {"A": "1"}),
        ("A=1#c", {"A": "1#c"}),
        ("A=#c", {"A": "#c"}),
        ("A= # c", {"A": "# c"}),
        ("A=a b # c # d", {"A": "a b"}),
        ("A=1\n# c\nB=2", {"A": "1", "B": "2"}),
        ('A="1 # x" # c', {"A": "1 # x"}),
        ("A='1' # c\nB=2", {"A": "1", "B": "2"}),
        # quotes
        ("A=''", {"A": ""}),
        ('A=""', {"A": ""}),
        ("A='a \"b\" $OUT \\n'", {"A": "a \"b\" $OUT \\n"}),
        ("A='it\\'s'", {"A": "it's"}),
        ('A="say \\"x\\""', {"A": 'say "x"'}),
        ("A='a\nb'\nB=1", {"A": "a\nb", "B": "1"}),
        ('A="a\n# no comment\nb"', {"A": "a\n# no comment\nb"}),
        ("A=x'y'", {"A": "x'y'"}),
        ("A='x' B='y'", {"A": "x", "B": "y"}),
        ("A=\"it's\"", {"A": "it's"}),
        # what follows a quote is another assignment
        ("A='x' y\n", {"A": "x"}),
        # escapes, between double quotes alone
        ('A="a\\nb\\tc\\rd"', {"A": "a\nb\tc\rd"}),
        ('A="\\\\n"', {"A": "\\n"}),
        ('A="\\0101\\x41"', {"A": "A\\x41"}),
        ('A="\\q"', {"A": "\\q"}),
        ("A=a\\nb", {"A": "a\\nb"}),
        # variables
        ("A=$OUT ${OUT}", {"A": "o o"}),
        ('A="$OUT"', {"A": "o"}),
        ("A=\\$OUT", {"A": "\\o"}),
        ('A="\\$OUT"', {"A": "$OUT"}),
        ("A=$$OUT", {"A": "$OUT"}),
        ("A=1\nB=${A}2\nC=${B}3", {"A": "1", "B": "12", "C": "123"}),
        ("B=$A\nA=1", {"B": "", "A": "1"}),
        ("A=${NO:-d}-${EMPTY:-e}-${EMPTY-f}-${OUT:+p}", {"A": "d-e--p"}),
        # outside counts before the file
        ("OUT=mine\nA=$OUT", {"OUT": "mine", "A": "o"}),
        # a last line that is neither is the value of no name
        ("A=1\nB", {"A": "1", "": "B"}),
    ],
)  # fmt: skip
def test_a_file_sets_variables(text, found):
    assert parsed(text) == found


def test_files_before_it_count_after_the_file_itself():
    assert parsed("A=1\nB=$A\nC=$E\nD=$OUT", earlier={"A": "x", "E": "e", "OUT": "x"}) == {
        "A": "1",
        "B": "1",
        "C": "e",
        "D": "o",
    }


def test_lines_are_counted_through_quotes_and_comments():
    lines = {}
    dotenv.parse("# c\nA='x\ny'\n\nB=1\n  export C=2 # d\nD: 3\n", "f", OUTSIDE.get, lines)
    assert lines == {"A": 2, "B": 5, "C": 6, "D": 7}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("A B=1", 1, 'the name "A B" contains a space'),
        ("A=1\nA B\n", 2, 'the name "A B" contains a space'),
        ("A=1\n\nB$=1", 3, 'unexpected character "$"'),
        ("A!\n", 1, 'unexpected character "!"'),
        ('"A"=1', 1, 'unexpected character """'),
        ("A='x", 1, "the quote ' is not closed"),
        ('A=1\nB="x\n\n', 2, 'the quote " is not closed'),
        ("A=${", 1, "A: invalid interpolation format"),
        ("A=${NO:?why}", 1, "A: required variable NO is missing a value: why"),
    ],
)
def test_what_is_no_assignment_is_reported_with_its_line(text, line, problem):
    with pytest.raises(ConfigError) as told:
        parsed(text)
    assert problem in str(told.value)
    assert (told.value.file, told.value.line) == ("f.env", line)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nB= x # y \n", {"A": "1", "B": " x # y "}),
        ("A='q'\nB=\"$OUT\"", {"A": "'q'", "B": '"$OUT"'}),
        ("  # c\n  A=1\r\n\nA.B=2", {"A": "1", "A.B": "2"}),
        ("INHERITED\nNOWHERE", {"INHERITED": "i"}),
        ("A=", {"A": ""}),
    ],
)
def test_format_raw_takes_everything_as_it_stands(text, found):
    assert dotenv.parse_raw(text, "f", OUTSIDE.get) == found


@pytest.mark.parametrize("text", ["export A", "=1", "A B=1"])
def test_format_raw_wants_a_name_without_blanks(text):
    with pytest.raises(ConfigError, match="name"):
        dotenv.parse_raw(text, "f", OUTSIDE.get)


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True).filter(lambda name: name not in OUTSIDE)


@given(
    st.dictionaries(NAMES, st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=20))
)
def test_values_between_single_quotes_stand_for_themselves(variables):
    written = "".join(f"{name}='{value}'\n" for name, value in variables.items() if not set(value) & set("'\\"))
    assert parsed(written) == {name: value for name, value in variables.items() if not set(value) & set("'\\")}


@given(st.text("A=:\n '\"\\${}#-xé\t\r", max_size=30) | st.text(max_size=20))
def test_any_text_is_variables_or_a_config_error_with_a_line(text):
    told = []
    for parse in (dotenv.parse, dotenv.parse_raw):
        try:
            parse(text, "f", OUTSIDE.get)
        except ConfigError as error:
            told.append(error)
    assert all(error.line for error in told)
