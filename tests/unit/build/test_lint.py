import pytest

from runtime.build.arguments import global_arguments
from runtime.build.checking import check_dockerfile
from runtime.build.errors import DockerfileError
from runtime.build.lint import Lint, Options, StageLint, check_file
from runtime.build.options import BuildOptions
from runtime.build.parser import parse


def warnings(text, options=""):
    """The rules that a Dockerfile is warned of, with their lines."""
    dockerfile = parse(text)
    lint = Lint(Options.parse(options or dockerfile.directives.get("check", "")), lambda _: None)
    check_file(dockerfile, global_arguments(dockerfile, BuildOptions(), set()), lint)
    for stage in dockerfile.stages:
        looked_at = StageLint(lint)
        for instruction in stage.instructions:
            looked_at.look_at(instruction, has_shell=False)
    return [(rule, line) for rule, _, line in lint.found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a AS b\nRUN x\nCMD [\"x\"]", []),
        ("FROM a AS Big", [("StageNameCasing", 1)]),
        ("FROM a as b\nFROM c AS d\nfrom e AS f\nFROM g As h",
         [("ConsistentInstructionCasing", 3), ("FromAsCasing", 1), ("FromAsCasing", 3), ("FromAsCasing", 4)]),
        ("FROM a\nRUN x \\\n\n  y\n", [("NoEmptyContinuation", 4)]),
        ("FROM a\nRUN x \\\n# why\n  y\n", []),
        ("FROM a\nRun x\nWORKDIR /", [("ConsistentInstructionCasing", 2)]),
        ("from a\nrun x\nRUN y", [("ConsistentInstructionCasing", 3)]),
        ("From a as b\nFrom c AS d", [("ConsistentInstructionCasing", 1), ("ConsistentInstructionCasing", 2)]),
        ("FROM a:${T:-x}", [("UndefinedArgInFrom", 1)]),
        ("FROM a\nENV TOKEN_FILE=1 TOKEN_PUBLIC=2", [("SecretsUsedInArgOrEnv", 2)]),
        ("FROM a AS x\nFROM b AS x", [("DuplicateStageName", 2)]),
        ("FROM a AS scratch\nFROM b AS context", [("ReservedStageName", 1), ("ReservedStageName", 2)]),
        ("FROM a\nCMD x\nENTRYPOINT y", [("JSONArgsRecommended", 2), ("JSONArgsRecommended", 3)]),
        ('FROM a\nCMD ["x"]\nRUN y\nCMD ["z"]', [("MultipleInstructionsDisallowed", 2)]),
        ("FROM a\nMAINTAINER me", [("MaintainerDeprecated", 2)]),
        ("FROM a:$V", [("UndefinedArgInFrom", 1), ("InvalidDefaultArgInFrom", 1)]),
        ("ARG V=1\nFROM a:$V", []),
        ("ARG V\nFROM a:$V", [("InvalidDefaultArgInFrom", 2)]),
        ("ARG V\nFROM a:${V:-1}", []),
        ("FROM --platform=$TARGETPLATFORM a", [("RedundantTargetPlatform", 1)]),
        ("FROM --platform=$BUILDPLATFORM a", []),
        ("FROM --platform=linux/arm64 a", [("FromPlatformFlagConstDisallowed", 1)]),
        ("FROM --platform=linux/arm64 a AS for_arm64", []),
        ("FROM a\nENV A b\nLABEL c d", [("LegacyKeyValueFormat", 2), ("LegacyKeyValueFormat", 3)]),
        ("FROM a\nENV API_KEY=1 PUBLIC_KEY=2 MONKEY=3\nARG token",
         [("SecretsUsedInArgOrEnv", 2), ("SecretsUsedInArgOrEnv", 3)]),
        ("FROM a\nEXPOSE 80/TCP 1:2", [("ExposeProtoCasing", 2), ("ExposeInvalidFormat", 2)]),
        ("# check=skip=MaintainerDeprecated\nFROM a\nMAINTAINER me", []),
        ("# check=skip=all\nFROM a AS B\nMAINTAINER me", []),
    ],
)  # fmt: skip
def test_files_are_warned_of_by_buildkits_names(text, expected):
    assert warnings(text) == expected


def test_variables_and_directories_are_warned_of_where_they_are_used():
    said = []
    looked_at = StageLint(Lint(Options(), said.append))
    looked_at.look_at_variable("nmae", {"name": "x"}, (), 3)
    looked_at.look_at_variable("name", {"name": "x"}, (), 3)
    looked_at.look_at_variable("declared", {}, ("declared",), 3)
    looked_at.look_at_directory("rel", 4)
    looked_at.look_at_directory("more", 5)
    assert said == [
        "[Warning] UndefinedVar: Usage of undefined variable '$nmae' (did you mean $name?) (line 3)\n",
        '[Warning] WorkdirRelativePath: Relative workdir "rel" can have unexpected results if the base image changes '
        "(line 4)\n",
    ]


def test_messages_have_the_keyword_as_it_is_written():
    said = []
    looked_at = StageLint(Lint(Options(), said.append))
    for instruction in parse("from a\nlabel a b\ncmd x\nCmd y\n").stages[0].instructions:
        looked_at.look_at(instruction, has_shell=False)
    assert [message.split()[1:8] for message in said] == [
        ["LegacyKeyValueFormat:", '"label', 'key=value"', "should", "be", "used", "instead"],
        ["JSONArgsRecommended:", "JSON", "arguments", "recommended", "for", "cmd", "to"],
        ["JSONArgsRecommended:", "JSON", "arguments", "recommended", "for", "Cmd", "to"],
        ["MultipleInstructionsDisallowed:", "Multiple", "Cmd", "instructions", "should", "not", "be"],
    ]


def test_warnings_may_be_errors():
    lint = Lint(Options.parse("skip=A; error=true"), lambda _: None)
    lint.warn("A", "skipped", 1)
    lint.check()
    lint.warn("B", "counts", 7)
    with pytest.raises(DockerfileError, match=r"Dockerfile:7: lint violation found for rules: B"):
        lint.check()


@pytest.mark.parametrize("written", ["skip", "no=x", "error=perhaps"])
def test_a_directive_that_says_nothing_known_is_refused(written):
    with pytest.raises(DockerfileError, match="invalid check option"):
        Options.parse(written)


def test_a_check_looks_at_every_stage_without_its_base():
    text = (
        'FROM x AS a\nWORKDIR /a\nSHELL ["/b"]\nFROM a AS b\nWORKDIR sub\nCMD x\nCMD y\nFROM x\nWORKDIR $W\nWORKDIR sub\n'
        "ENTRYPOINT x\nENV TOKEN x\n"
    )
    found = check_dockerfile(parse(text), BuildOptions()).found
    assert [(rule, line) for rule, _, line in found] == [
        ("MultipleInstructionsDisallowed", 6),
        ("JSONArgsRecommended", 11),
        ("LegacyKeyValueFormat", 12),
        ("SecretsUsedInArgOrEnv", 12),
    ]
    skipped = BuildOptions(build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=all"})
    assert not check_dockerfile(parse(text), skipped).found
