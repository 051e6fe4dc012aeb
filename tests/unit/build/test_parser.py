from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.build import instructions as ins
from runtime.build.errors import DockerfileError
from runtime.build.lines import read_source, split_words
from runtime.build.parser import parse


def one(text):
    return parse(f"FROM scratch\n{text}").stages[0].instructions[0]


def test_stages_and_arguments_before_them_are_apart():
    dockerfile = parse("ARG V=1\nFROM base:$V AS Build\nRUN make\nFROM scratch\nCOPY --from=build /a /b\n")
    assert dockerfile.arguments[0].arguments == (("V", "1"),)
    assert [stage.name for stage in dockerfile.stages] == ["build", "1"]
    assert dockerfile.stages[1].instructions[0].from_stage == "build"


def test_continued_lines_join_and_comments_between_them_go():
    run = one("RUN a && \\\n  # why\n\n  b\nCMD x")
    assert run.command.arguments == ("a &&   b",)
    assert run.line == 2


def test_the_escape_directive_changes_the_continuation():
    dockerfile = parse("# escape=`\nFROM scratch\nRUN a `\n  b\nWORKDIR c:\\\n")
    run, workdir = dockerfile.stages[0].instructions
    assert run.command.arguments == ("a   b",)
    assert workdir.path == "c:\\"


def test_a_directive_after_a_comment_is_a_comment():
    assert parse("# first\n# escape=`\nFROM scratch\n").escape == "\\"


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("CMD a b", ins.Command(("a b",), True)),
        ('CMD ["a", "b c"]', ins.Command(("a", "b c"), False)),
        ("CMD []", ins.Command((), False)),
        ("CMD ['a']", ins.Command(("['a']",), True)),
        ("CMD [ -f x ]", ins.Command(("[ -f x ]",), True)),
    ],
)
def test_commands_have_two_forms(text, command):
    assert one(text).command == command


def test_here_documents_are_read():
    run = one("RUN <<EOF cat <<-'RAW'\necho $x\nEOF\n\tone\n\tRAW\nCMD y")
    assert [(h.name, h.content, h.expand) for h in run.heredocs] == [
        ("EOF", "echo $x\n", True),
        ("RAW", "one\n", False),
    ]


def test_environment_has_the_old_form_and_the_new():
    assert one("ENV a b  c").variables == (("a", "b  c"),)
    assert one("ENV a=1 b='x y' c=x\\ y").variables == (("a", "1"), ("b", "'x y'"), ("c", "x\\ y"))


def test_health_checks_have_durations_in_nanoseconds():
    check = one("HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl -f http://x")
    assert (check.interval_ns, check.timeout_ns, check.retries) == (90 * 10**9, 5 * 10**8, 3)
    assert check.command == ins.Command(("curl -f http://x",), True)
    assert one("HEALTHCHECK NONE").command is None


def test_mounts_are_read():
    run = one("RUN --mount=type=cache,target=/c --mount='src=x,dst=/y,ro,from=base' make")
    assert run.mounts == ("type=cache,target=/c", "src=x,dst=/y,ro,from=base")
    assert run.sources == ("base",)
    assert run.command.arguments == ("make",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be empty"),
        ("RUN x", "Dockerfile:1: no build stage in current context"),
        ("ARG x", "no build stage"),
        ("FROM a\nRNU x", 'Dockerfile:2: unknown instruction: RNU\n    did you mean "RUN"?'),
        ("FROM a\n\nCOPPY a b", 'Dockerfile:3: unknown instruction: COPPY\n    did you mean "COPY"?'),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a AS 1b", "invalid name for build stage"),
        ("FROM a\nCOPY x", "COPY requires at least two arguments"),
        ("FROM a\nCOPY --form=b x y", 'unknown flag: --form for COPY\n    did you mean "--from"?'),
        ("FROM a\nCOPY --chown x y", "missing a value on flag: --chown"),
        ("FROM a\nENV a=1 b", "can't find = in 'b'"),
        ("FROM a\nENV a", "ENV must have two arguments"),
        ("FROM a\nEXPOSE", "EXPOSE requires at least one argument"),
        ("FROM a\nMAINTAINER", "MAINTAINER requires exactly one argument"),
        ('FROM a\nCMD ["a", 1]', "arrays must be comprised of strings only"),
        ('FROM a\nCOPY ["a", 1]', "arrays must be comprised of strings only"),
        ('FROM a\nHEALTHCHECK CMD ["a", null]', "arrays must be comprised of strings only"),
        ("FROM a\nHEALTHCHECK CMD []", "missing command"),
        ('FROM a\nVOLUME [""]', "VOLUME specified can not be an empty string"),
        ("FROM a\nVOLUME []", "VOLUME requires at least one argument"),
        ("FROM a\nSHELL []", "SHELL requires the arguments to be in JSON form"),
        ("FROM a\nCOPY --chown=1 --chown=2 a b", "duplicate flag specified: --chown"),
        ("FROM a\nCOPY --link=1 a b", "expecting boolean value for flag link, not: 1"),
        ("FROM a\nCOPY --link= a b", "missing a value on flag: --link"),
        ("FROM a\nCMD --help", "unknown flag: --help for CMD"),
        ("FROM a\nENV --x=y a=b", "unknown flag: --x for ENV"),
        ("FROM a\nRUN " + "x" * 65536, "dockerfile line greater than max allowed size of 65535"),
        ("FROM a\nRUN <<EOF\nx", "Dockerfile:2: unterminated heredoc 'EOF'"),
        ("FROM a\nSHELL bash", "SHELL requires the arguments to be in JSON form"),
        ("FROM a\nHEALTHCHECK --interval=5 CMD x", "invalid duration '5'"),
        ("FROM a\nHEALTHCHECK CMD", "missing command"),
        ("FROM a\nONBUILD FROM b", "FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nONBUILD ONBUILD RUN b", "ONBUILD isn't allowed as an ONBUILD trigger"),
        ("FROM a\nRUN --mount=type=bind,from=$x,target=/x y", "from takes no variables"),
        ("# escape=x\nFROM a", "Dockerfile:1: invalid escape token"),
        ("# escape=`\n# escape=`\nFROM a", "given twice"),
    ],
)
def test_a_mistake_is_reported_with_its_place_and_cure(text, message):
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    assert message in str(caught.value)


KEYWORDS = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "ARG",
    "LABEL",
    "CMD",
    "HEALTHCHECK",
    "ONBUILD",
    "SHELL",
    "#",
    "<<E",
    "",
]


@given(st.lists(st.tuples(st.sampled_from(KEYWORDS), st.text(max_size=20)), max_size=8))
def test_every_text_parses_or_is_refused_with_reason(parts):
    with suppress(DockerfileError):
        parse("\n".join(f"{keyword} {rest}" for keyword, rest in parts))


@given(st.lists(st.text(alphabet="abc \\\n#\"'", max_size=12), max_size=8))
def test_a_logical_line_begins_where_it_stands(lines):
    text = "\n".join(lines)
    physical = text.split("\n")
    for line in read_source(text).lines:
        assert physical[line.line - 1].strip()


@given(st.lists(st.text(alphabet="abc=$", min_size=1), max_size=6))
def test_words_without_quotes_split_at_white_space(words):
    assert split_words("  ".join(words)) == words


def test_health_checks_may_have_tabs_and_all_options():
    check = one(
        'HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=0s --start-interval=1s --retries=4 CMD\t["a"]'
    )
    assert (check.command.arguments, check.interval_ns, check.timeout_ns) == (("a",), 90 * 10**9, 5 * 10**8)
    assert (check.start_period_ns, check.start_interval_ns, check.retries) == (0, 10**9, 4)
    assert one("healthcheck\tNONE").command is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("RUN --security=unsafe x", "unsupported security 'unsafe'"),
        ("RUN --network=bridge x", "unsupported network mode 'bridge'"),
        ("RUN []", "RUN requires at least one argument"),
        ("COPY --from=$BASE /a /b", "--from takes no variables"),
        ("HEALTHCHECK --interval=1us CMD x", "less than 1ms"),
        ("HEALTHCHECK --retries=-1 CMD x", "whole number"),
    ],
)
def test_what_a_flag_cannot_say_is_named_with_its_line(text, problem):
    with pytest.raises(DockerfileError, match="Dockerfile:2: ") as caught:
        one(text)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        # commands may be empty; in JSON form that is none
        ("CMD", "command", ins.Command(("",), True)),
        ("ENTRYPOINT", "command", ins.Command(("",), True)),
        ("RUN", "command", ins.Command(("",), True)),
        ("ENTRYPOINT []", "command", ins.Command((), False)),
        # one argument is the whole rest of the line
        ("WORKDIR /a b", "path", "/a b"),
        ("USER a b", "user", "a b"),
        ("STOPSIGNAL 9 9", "signal", "9 9"),
        # quotes hold nothing together in lists that are no JSON
        ('COPY "a b" /c', "sources", ('"a', 'b"')),
        ('COPY ["a b", "/c"]', "sources", ("a b",)),
        ('VOLUME "/a b" /c', "paths", ('"/a', 'b"', "/c")),
        ("EXPOSE 80  81/udp", "ports", ("80", "81/udp")),
        # flags lose their quotes and backslashes, and end at --
        ("COPY --chown='a b' --chmod=\"7\"55 x y", "chown", "a b"),
        ("COPY --exclude=a --exclude=b x y", "exclude", ("a", "b")),
        ("COPY --link=FALSE --parents x y", "parents", True),
        ("RUN -- --x", "command", ins.Command(("--x",), True)),
        # what a trigger says is for the build that it is in
        ("ONBUILD RNU x", "trigger", "RNU x"),
        ("ONBUILD COPY --from=$later a b", "trigger", "COPY --from=$later a b"),
        ("EXPOSE " + "8 " * 30000, "line", 2),
    ],
)
def test_lines_are_read_as_buildkit_reads_them(text, field, value):
    assert getattr(one(text), field) == value


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ('RUN <<"E F"\na\nE F', "a\n"),
        ("RUN <<E\r\na\r\nE\r\n", "a\r\n"),  # a document keeps its line ends, instructions do not
        ("COPY 3<<E /x\na\nE", "a\n"),
    ],
)
def test_documents_are_read_as_they_are_written(text, content):
    (stage,) = parse(f"FROM a\r\n{text}").stages
    assert [document.content for document in stage.instructions[0].heredocs] == [content]
    assert "\r" not in stage.base.image + stage.instructions[0].text


def test_a_carriage_return_alone_ends_no_line():
    with pytest.raises(DockerfileError, match="FROM requires either one or three arguments"):
        parse("FROM a\rENV A=1")
