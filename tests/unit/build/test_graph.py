import pytest

from runtime.build.errors import DockerfileError
from runtime.build.graph import plan_stages
from runtime.build.parser import parse


def test_only_needed_stages_are_planned():
    planned, target = plan_stages(parse("FROM a AS x\nFROM b AS y\nFROM x\nCOPY --from=0 /a /b"), None, {})
    assert ([plan.stage.index for plan in planned], target) == ([0, 2], 2)


def test_a_target_ends_the_build_early():
    planned, target = plan_stages(parse("FROM a AS x\nFROM x AS y\nFROM y AS z"), "Y", {})
    assert ([plan.stage.index for plan in planned], target) == ([0, 1], 1)


def test_bases_expand_with_the_arguments_given():
    planned, _ = plan_stages(parse("ARG BASE\nFROM ${BASE:-debian}"), None, {"BASE": "alpine"})
    assert planned[0].base == "alpine"


def test_an_unknown_target_is_reported_with_the_one_meant():
    with pytest.raises(DockerfileError, match='did you mean "final"') as caught:
        plan_stages(parse("FROM a AS build\nFROM b AS final"), "finl", {})
    assert 'target stage "finl" could not be found' in str(caught.value)


def test_an_empty_base_is_reported_with_its_line():
    with pytest.raises(DockerfileError, match=r"Dockerfile:1: base name \(\$X\) should not be blank"):
        plan_stages(parse("FROM $X"), None, {})


def test_a_stage_cannot_copy_from_itself():
    with pytest.raises(DockerfileError, match="cannot copy from itself"):
        plan_stages(parse("FROM a AS x\nCOPY --from=x /a /b"), None, {})


def test_of_stages_with_one_name_the_last_counts():
    text = "FROM a AS x\nFROM x AS x\nFROM b\nCOPY --from=x /a /b"
    planned, _ = plan_stages(parse(text), None, {})
    assert [(plan.stage.index, plan.base_stage) for plan in planned] == [(0, None), (1, 0), (2, None)]
    assert plan_stages(parse(text), "x", {})[1] == 1


@pytest.mark.parametrize(
    "line", ["COPY --from=later /a /b", "COPY --from=1 /a /b", "RUN --mount=from=later,target=/x y"]
)
def test_a_stage_copies_from_none_that_comes_later(line):
    with pytest.raises(DockerfileError, match="needs to be defined before current stage '0'"):
        plan_stages(parse(f"FROM a\n{line}\nFROM b AS later"), "0", {})
    # where nothing needs the stage, nothing is copied
    assert len(plan_stages(parse(f"FROM a\n{line}\nFROM b AS later"), None, {})[0]) == 1


def test_a_number_is_a_stage_or_a_mistake():
    with pytest.raises(DockerfileError, match="Dockerfile:2: invalid stage index 7"):
        plan_stages(parse("FROM a\nCOPY --from=7 /a /b"), None, {})
