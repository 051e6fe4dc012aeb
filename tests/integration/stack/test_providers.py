"""Services that other programs provide, and models: what these are asked, and what services get."""

import json

import pytest

pytestmark = pytest.mark.root

PROVIDER = """#!/bin/sh
echo "$@" >> $CALLS
[ "$2" = metadata ] && { METADATA; }
[ "$3" = up ] || exit 0
echo '{"type": "info", "message": "preparing"}'
echo '{"type": "debug", "message": "hidden"}'
echo '{"type": "get-service-config"}'
read config
echo "$config" >> $CALLS
echo '{"type": "setenv", "message": "URL=http://cloud/'$(wc -l < $CALLS | tr -d ' ')'"}'
echo '{"type": "rawsetenv", "message": "TOKEN=a=b"}'
"""
STACK = """
services:
  web: {image: busybox, init: true, command: sleep infinity, depends_on: [db], environment: {TOKEN: mine}}
  apart: {image: busybox, init: true, command: sleep infinity}
  db:
    provider:
      type: cloud
      options: {size: 256, zones: [a, b]}
"""
STOPPABLE = {"description": "x", "up": {"parameters": [{"name": "size", "required": True}]}, "down": {}, "stop": {}}


@pytest.fixture
def cloud(tmp_path):
    """Makes the program `cloud` (or another) on the PATH; returns the environment, and a function with its calls."""
    calls = tmp_path / "calls"

    def make(script=PROVIDER, metadata=None, name="cloud"):
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        told = f"echo '{json.dumps(metadata)}'; exit 0" if metadata else "exit 1"
        (folder / name).write_text(script.replace("METADATA", told))
        (folder / name).chmod(0o755)
        return {"PATH": f"{folder}:/usr/bin:/bin", "CALLS": str(calls), "DOCKER_CONFIG": str(tmp_path)}

    make.calls = lambda: [each for each in calls.read_text().splitlines() if not each.endswith(("metadata", "}"))]
    make.asked = lambda: json.loads(next(each for each in calls.read_text().splitlines() if each.endswith("}")))
    return make


def environment(project, service):
    return project.skiff("exec", service, "env").stdout.splitlines()


def test_a_provided_service_is_brought_up_and_down_and_its_dependants_are_notified(stack, cloud):
    project = stack(STACK)
    env = cloud()
    said = project.skiff("up", "-d", env=env).stderr
    for part in ("Service db Creating", "Service db preparing", "Service db Created", "Container"):
        assert part in said
    assert "hidden" not in said
    assert 'WARN provider "db" overrides environment variable "TOKEN" in service "web"' in said
    up = f"compose --project-name={project.name} up --size=256 --zones=a --zones=b db"
    assert cloud.calls() == [up]
    assert cloud.asked()["provider"] == {"type": "cloud", "options": {"size": ["256"], "zones": ["a", "b"]}}
    told = environment(project, "web")
    assert "TOKEN=a=b" in told
    assert any(each.startswith("DB_URL=http://cloud/") for each in told)
    assert "TOKEN=a=b" not in environment(project, "apart")
    project.skiff("stop", "-t", "0", env=env)
    assert cloud.calls() == [up]  # it has no stop
    assert "Service db Removed" in project.skiff("down", "-t", "0", env=env).stderr
    assert cloud.calls()[1:] == [f"compose --project-name={project.name} down --size=256 --zones=a --zones=b db"]


def test_a_dependant_is_recreated_only_when_what_it_is_given_changes(stack, cloud):
    project = stack(STACK)
    env = cloud(PROVIDER.replace("$(wc -l < $CALLS | tr -d ' ')", "$WHERE"))
    project.skiff("up", "-d", env={**env, "WHERE": "1"})
    assert "Recreate" not in project.skiff("up", "-d", env={**env, "WHERE": "1"}).stderr
    said = project.skiff("up", "-d", env={**env, "WHERE": "2"}).stderr
    assert f"Container {project.name}-web-1 Recreated" in said
    assert f"Container {project.name}-apart-1 Recreate" not in said
    assert "DB_URL=http://cloud/2" in environment(project, "web")
    run = project.skiff("run", "--rm", "-T", "web", "env", env={**env, "WHERE": "3"})
    assert "DB_URL=http://cloud/3" in run.stdout.splitlines()


def test_what_a_provider_reports_of_itself_decides_which_flags_it_gets_and_whether_it_is_stopped(stack, cloud):
    project = stack(STACK)
    env = cloud(metadata=STOPPABLE)
    project.skiff("up", "-d", env=env)
    project.skiff("stop", "-t", "0", env=env)
    project.skiff("down", "-t", "0", env=env)
    verbs = ("up --size=256", "stop", "down")
    assert cloud.calls() == [f"compose --project-name={project.name} {verb} db" for verb in verbs]
    project.write(STACK.replace("size: 256, ", ""))
    assert 'required parameter "size" is missing from provider "cloud"' in project.refused("up", "-d", env=env)


QUOTA = """#!/bin/sh
[ $2 = metadata ] && exit 1
echo '{"type": "error", "message": "quota is used up"}'
sleep 60
"""


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        (QUOTA, ["quota is used up"]),
        ("#!/bin/sh\necho oops >&2; exit 3", ["failed to create service provider: exit status 3", "oops"]),
        ("#!/bin/sh\necho no json", ["invalid response from plugin: no json"]),
        ('#!/bin/sh\necho \'{"type": "setenv", "message": "nothing"}\'', ["invalid response from plugin"]),
        ("#!/nosuch/interpreter\n", ["can't be run"]),
    ],
)
def test_a_provider_that_fails_is_reported_in_its_own_words(stack, cloud, script, parts):
    project = stack(STACK)
    said = project.refused("up", "-d", env=cloud(script))
    assert "Service db Error" in said
    for part in parts:
        assert part in said, said
    assert project.states() == {}


def test_a_dry_run_calls_no_provider(stack, cloud):
    project = stack(STACK)
    env = cloud()
    assert "DRY-RUN MODE - Service db Created" in project.skiff("--dry-run", "up", "-d", env=env).stderr
    with pytest.raises(FileNotFoundError):
        cloud.calls()


MODELS = """
services:
  web:
    image: busybox
    init: true
    command: sleep infinity
    models: {fast-llm: {}, slow: {endpoint_var: WHERE, model_var: WHICH}}
models:
  fast-llm: {model: ai/fast, context_size: 1024, runtime_flags: [--verbose]}
  slow: {model: ai/slow}
"""
RUNNER = """#!/bin/sh
echo "$@" >> $CALLS
case $1 in
ls) echo '[{"id": "1", "tags": ["ai/slow"]}]' ;;
status) echo '{"endpoint": "http://models/v1"}' ;;
esac
"""


def test_models_are_had_by_the_model_runner_and_services_get_their_addresses(stack, cloud, tmp_path):
    project = stack(MODELS)
    env = cloud(RUNNER, name="docker-model")
    (tmp_path / "cli-plugins").symlink_to(tmp_path / "programs")
    assert "Model fast-llm Pulled" in project.skiff("up", "-d", env=env).stderr
    assert cloud.calls() == [
        "ls --json",
        "pull ai/fast",
        "configure --context-size 1024 ai/fast -- --verbose",
        "configure ai/slow",
        "status --json",
    ]
    told = {"FAST_LLM_MODEL=ai/fast", "FAST_LLM_URL=http://models/v1", "WHICH=ai/slow", "WHERE=http://models/v1"}
    assert told <= set(environment(project, "web"))
    assert "Recreate" not in project.skiff("up", "-d", env=env).stderr
