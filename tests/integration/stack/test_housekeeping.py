"""The engine's store by our own commands: nobody needs a docker CLI to look at it and to clean up."""

import json

import pytest

from tests.support.project import Project
from tests.support.registry import LocalRegistry

pytestmark = pytest.mark.root

STACK = """
name: kept
services:
  web:
    image: busybox
    init: true
    command: sleep infinity
    volumes: [data:/data]
    networks: [net]
  built:
    profiles: [more]
    image: kept/built:1
    build:
      dockerfile_inline: |
        FROM busybox
        RUN --mount=type=cache,target=/c head -c 200000 /dev/zero > /c/file; head -c 300000 /dev/zero > /made
volumes: {data: }
networks: {net: }
"""


def test_everything_is_listed_removed_and_pruned(home, busybox, tmp_path):
    project = Project.of(home, tmp_path, STACK)
    project.skiff("up", "-d")
    built = project.skiff("build", "built").stdout
    assert "Step 2/2 : RUN" in built
    assert "---> Done in " in built

    def skiff(*arguments, **options):
        return home.skiff(*arguments, **options).stdout

    # images
    skiff("image", "tag", "kept/built:1", "kept/other:2")
    assert "kept/other" in skiff("image", "ls")
    history = skiff("image", "history", "kept/built:1").splitlines()
    assert history[0].split()[:2] == ["IMAGE", "CREATED"]
    assert "RUN /bin/sh -c head" in history[1]
    assert [one["Id"] for one in json.loads(skiff("image", "inspect", "kept/built:1", "kept/other:2"))]
    # volumes and networks
    assert skiff("volume", "ls", "-q") == "kept_data\n"
    assert skiff("volume", "ls").splitlines()[1].split() == ["local", "kept_data", "kept"]
    assert json.loads(skiff("volume", "inspect", "kept_data"))[0]["Name"] == "kept_data"
    networks = skiff("network", "ls", "--filter", "label=com.docker.compose.project=kept").splitlines()
    assert [line.split()[1:] for line in networks] == [
        ["ID", "NAME", "DRIVER", "SCOPE", "PROJECT"], ["kept_net", "bridge", "local", "kept"],
    ]  # fmt: skip
    assert json.loads(skiff("network", "inspect", "kept_net"))[0]["Driver"] == "bridge"
    # what takes room, and whose it is
    df = skiff("system", "df")
    assert [line.split("  ")[0] for line in df.splitlines()[:5]] == [
        "TYPE",
        "Images",
        "Containers",
        "Local Volumes",
        "Build Cache",
    ]
    told = json.loads(skiff("system", "df", "--format", "json"))
    kept = next(one for one in told["projects"] if one["name"] == "kept")
    assert (kept["containers"], kept["volumes"], kept["images"]) == (1, 1, 2)
    cache = next(one for one in told["kinds"] if one["kind"] == "Build Cache")
    assert cache["size_bytes"] == cache["reclaimable_bytes"] == 200_000, "the step's layer is the image's"
    # what is in use stays
    refused = home.skiff("volume", "rm", "kept_data", check=False)
    assert refused.returncode == 1
    assert "in use" in refused.stderr
    assert home.skiff("system", "prune", check=False).returncode == 1, "nobody is there to say yes"
    assert skiff("system", "prune", "-f", "--volumes").endswith("Total reclaimed space: 200kB\n")
    assert project.states() == {"kept-web-1": "running"}
    # and goes when it is not
    project.skiff("down", "-t", "0")
    pruned = skiff("image", "prune", "-a", "-f", "--filter", "label=com.docker.compose.project=kept")
    assert "untagged: kept/built:1" in pruned
    assert skiff("image", "ls", "-q").count("\n") == 1
    assert skiff("builder", "prune", "-f", "--keep-storage", "1g") == "Total reclaimed space: 0B\n"
    assert skiff("volume", "prune", "-f") == "Total reclaimed space: 0B\n"
    assert "kept_data" in skiff("volume", "prune", "-a", "-f")
    assert skiff("network", "rm", "-f", "nosuch") == "nosuch\n"
    assert home.skiff("volume", "rm", "nosuch", check=False).returncode == 1
    skiff("image", "rm", "busybox")
    assert skiff("image", "ls", "-q") == ""


def test_a_pull_is_reported_in_lines_and_as_json(home, busybox):
    registry = LocalRegistry()
    try:
        name = f"{registry.domain}/told:1"
        home.skiff("image", "tag", "busybox", name)
        pushed = home.skiff("image", "push", name)
        assert pushed.stderr.splitlines() == [f" Image {name} Pushing", f" Image {name} Pushed"]
        home.skiff("image", "rm", "busybox", name)
        told = home.skiff("--progress", "json", "image", "pull", name).stderr.splitlines()
        documents = [json.loads(line) for line in told]
        assert (documents[0]["text"], documents[-1]["text"]) == ("Pulling", "Pulled")
        measured = next(one for one in documents if "total" in one)
        assert measured["text"].endswith("0/1 layers")
        assert home.skiff("image", "pull", "-q", name).stderr == ""
        refused = home.skiff("image", "pull", "--platform", "linux/arm64", name, check=False)
        assert "is for linux/amd64, not for linux/arm64" in refused.stderr
    finally:
        registry.stop()


def test_an_image_for_another_platform_than_wanted_does_not_run_without_a_word(home, busybox, tmp_path):
    project = Project.of(
        home,
        tmp_path,
        "name: other\nservices: {web: {image: busybox, platform: linux/arm64, pull_policy: never, command: sleep 1}}\n",
    )
    assert "busybox is here for linux/amd64, not for linux/arm64, and its pull policy is never" in project.refused("up")
    project.name = "other"
    project.write("services: {web: {image: busybox, platform: linux/x86_64, init: true, command: sleep infinity}}")
    project.skiff("up", "-d")
    assert project.states() == {"other-web-1": "running"}
