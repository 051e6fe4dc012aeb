"""The options of `build`, and what it refuses."""

import json
import os
import socket
import subprocess
import tempfile

import pytest

pytestmark = pytest.mark.root

BUILT = """
services:
  web.a:
    build:
      context: .
      dockerfile: Web.Dockerfile
      args: {WORD: "a$${b}"}
      additional_contexts: {base: "service:base", data: ./data}
      secrets: [token]
      extra_hosts: [db=10.0.0.1]
    image: web:1
    depends_on: [base]
  base: {build: {context: ., dockerfile_inline: FROM busybox, tags: ["base:2"], privileged: true, ssh: [default]}}
  other: {image: busybox}
secrets:
  token: {environment: TOKEN}
"""


def test_print_shows_the_builds_as_a_bake_file(stack):
    project = stack(BUILT, **{"Web.Dockerfile": "FROM base\n"})
    (project.folder / "data").mkdir()
    bake = json.loads(project.skiff("build", "--print", "--pull", "--build-arg", "MORE=1", "web.a").stdout)
    labels = {"com.docker.compose.project": project.name}
    assert bake == {
        "group": {"default": {"targets": ["web_a"]}},
        "target": {
            "web_a": {
                "context": str(project.folder),
                "contexts": {"base": "target:base", "data": str(project.folder / "data")},
                "dockerfile": str(project.folder / "Web.Dockerfile"),
                "args": {"WORD": "a$${b}", "MORE": "1"},
                "labels": {**labels, "com.docker.compose.service": "web.a"},
                "tags": ["web:1"],
                "secret": ["id=token,type=env,env=TOKEN"],
                "pull": True,
                "extra-hosts": {"db": "10.0.0.1"},
                "output": ["type=docker"],
            },
            "base": {
                "context": str(project.folder),
                "dockerfile-inline": "FROM busybox",
                "args": {"MORE": "1"},
                "labels": {**labels, "com.docker.compose.service": "base"},
                "tags": ["base:2", f"{project.name}-base"],
                "ssh": ["default"],
                "pull": True,
                "entitlements": ["security.insecure"],
                "output": ["type=docker"],
            },
        },
    }


def test_an_agent_of_the_command_line_is_there_for_steps(stack):
    project = stack(
        "services:\n  web: {build: .}\n",
        Dockerfile="FROM busybox\nRUN --mount=type=ssh,id=mine,required test -S $SSH_AUTH_SOCK && echo has an agent\n",
    )
    path = os.path.join(project.home.run, "agent.sock")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(path)
        agent.listen()
        assert "has an agent" in project.skiff("build", "--ssh", f"mine={path}").stdout
    assert "is neither an agent's socket nor a key" in project.refused("build", "--no-cache", "--ssh", "mine=/dev/null")


def test_a_key_of_a_file_is_with_an_agent_that_ends_with_the_build(stack):
    project = stack(
        "services:\n  web: {build: {context: ., ssh: [mine=./key]}}\n",
        Dockerfile="FROM busybox\nRUN --mount=type=ssh,id=mine,required test -S $SSH_AUTH_SOCK && echo has an agent\n",
        **{"bad": "not a key\n", ".dockerignore": "*key*\n"},
    )
    for name, phrase in {"key": "", "locked": "secret"}.items():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-f", str(project.folder / name)], check=True
        )
    (project.folder / "key").chmod(0o644)
    assert "has an agent" in project.skiff("build").stdout
    for name in ("bad", "locked"):
        assert f"{name} is not a key without a passphrase" in project.refused("build", "--ssh", f"mine={name}")
    assert not [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("skiff-agent-")]


def test_check_shows_what_builds_would_warn_of_and_builds_nothing(stack):
    text = (
        "services:\n  web: {build: .}\n  db: {build: {dockerfile_inline: FROM nowhere}}\n"
        "  bad: {build: {dockerfile_inline: RUUN}}\n"
    )
    project = stack(text, Dockerfile="FROM nowhere\nWORKDIR here\nMAINTAINER me\nCMD x\n")
    assert project.skiff("build", "--check", "db").stdout == "db: Check complete, no warnings found.\n"
    failed = project.skiff("build", "--check", check=False)
    assert failed.returncode == 1
    rules = [line.split(": ")[1] for line in failed.stdout.splitlines() if line.startswith("web: ")]
    assert rules == ["WorkdirRelativePath", "MaintainerDeprecated", "JSONArgsRecommended", "Dockerfile"]
    assert "web: Dockerfile: 3 warnings found" in failed.stdout
    assert "db: Check complete" in failed.stdout
    assert "unknown instruction: RUUN" in failed.stdout


def test_work_of_buildx_is_refused_and_that_it_is_not_wanted_is_fine(stack):
    project = stack("services:\n  web: {build: .}\n", Dockerfile="FROM busybox\n")
    assert 'no builder "mine" found' in project.refused("build", "--builder", "mine")
    for name in ("provenance", "sbom"):
        assert f"build --{name}: attestations are not made" in project.refused("build", f"--{name}=true")
    project.skiff("build", "--builder", "default", "--provenance=false", "--sbom", "false")
    for command in (["build"], ["up", "--build", "--no-start"]):
        said = project.skiff(*command, env={"BUILDX_BUILDER": "mine"}).stderr
        assert said.count('BUILDX_BUILDER is "mine": builders are of buildx') == 1
    assert "BUILDX" not in project.skiff("up", "--no-start", env={"BUILDX_BUILDER": "mine"}).stderr
    assert "BUILDX" not in project.skiff("build", env={"BUILDX_BUILDER": "default"}).stderr
