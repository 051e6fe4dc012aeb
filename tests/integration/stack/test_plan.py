"""`plan`, and the lines of `up` that say what changes and why; one-shots that need not run again."""

import json

import pytest

pytestmark = pytest.mark.root

STACK = """
services:
  api:
    image: busybox
    command: sleep infinity
    stop_grace_period: 0s
    environment: {LOG_LEVEL: info}
    volumes: [./nginx.conf:/nginx.conf]
    configs: [{source: f, target: /f}]
    depends_on: {migrate: {condition: service_completed_successfully}}
  migrate: {image: busybox, command: echo migrated}
configs: {f: {file: ./f.txt}}
"""
RUNS_TO_ITS_END = """
services:
  migrate: {image: busybox, command: echo migrated}
  report:
    image: busybox
    command: echo reported
    depends_on: {migrate: {condition: service_completed_successfully}}
"""
DONE = "migrate: it has completed, and nothing of it changed → not run again (--rerun does)\n"


def replace_file(path, content):
    """Write `content` as editors, git and rsync do: to another file, which takes the name."""
    (new := path.with_name("new")).write_text(content)
    new.rename(path)


def test_a_plan_says_what_up_then_does_and_up_says_it_again(stack):
    project = stack(STACK, **{"f.txt": "one", "nginx.conf": "one"})
    plan = project.skiff("plan", "--exit-code", check=False)
    assert plan.returncode == 2
    assert "api: it is missing → create\n" in plan.stdout
    assert "it is missing" not in project.skiff("up", "-d").stderr
    assert project.skiff("plan", "--exit-code").stdout == DONE + "Nothing would change.\n"

    replace_file(project.folder / "f.txt", "two")
    replace_file(project.folder / "nginx.conf", "two")
    assert project.skiff("plan").stdout == "api: ./f.txt changed, ./nginx.conf changed → recreate\n" + DONE
    said = project.skiff("up", "-d").stderr
    assert " api: ./f.txt changed, ./nginx.conf changed → recreate\n" in said
    assert f" {DONE}" in said
    assert project.skiff("exec", "-T", "api", "cat", "/f", "/nginx.conf").stdout == "twotwo"

    text = (project.folder / "compose.yaml").read_text()
    (project.folder / "compose.yaml").write_text(text.replace("info", "debug"))
    (first, _) = project.skiff("plan", "--format", "json").stdout.splitlines()
    changed = {"Subject": "api", "Reason": "environment.LOG_LEVEL info → debug", "Action": "recreate"}
    assert json.loads(first) == changed
    lines = project.skiff("--progress", "json", "up", "-d").stderr.splitlines()
    assert not any("LOG_LEVEL" in line for line in lines)  # docker compose has no such object

    project.skiff("up", "-d", "--rerun")
    assert project.skiff("logs", "--no-log-prefix", "migrate").stdout == "migrated\nmigrated\n"


def test_up_in_the_foreground_ends_without_one_shots_that_did_not_run(stack):
    project = stack(RUNS_TO_ITS_END)
    assert "migrate-1  | migrated" in project.skiff("up").stdout
    again = project.skiff("up").stdout
    assert "migrated" not in again
    assert "report-1  | reported" in again


def test_the_picture_of_a_stack_goes_where_its_file_is_called(stack):
    project = stack(RUNS_TO_ITS_END)
    assert project.skiff("graph").stdout.startswith("flowchart TD\n")
    project.skiff("graph", "-o", "README.md", "report")
    assert (project.folder / "README.md").read_text().startswith("```mermaid\nflowchart TD\n")
    project.skiff("up")
    project.skiff("graph", "--states", "-o", "stack.svg")
    assert "migrate: exited" in (project.folder / "stack.svg").read_text()
    assert "digraph" in project.skiff("graph", "--format", "dot").stdout
    assert "write one of mermaid, svg, dot" in project.refused("graph", "--format", "png")
