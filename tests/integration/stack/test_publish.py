"""`publish`, and files that lie in a registry: with Debian's real one on loopback."""

import json
from urllib.request import Request, urlopen

import pytest

from tests.support.project import Project
from tests.support.registry import LocalRegistry

pytestmark = [pytest.mark.root, pytest.mark.registry]

APP = """
services:
  web:
    image: busybox
    init: true
    command: sh -c "echo $$WORD; sleep infinity"
    env_file: [{path: ./web.env}]
    extends: {file: "base.yaml", service: base}
    profiles: [web]
"""
FILES = {
    "web.env": "WORD=from-a-file\n",
    "base.yaml": "services:\n  base:\n    labels: {from: base}\n",
    "compose.override.yaml": "services:\n  web:\n    labels: {over: ridden}\n",
}


@pytest.fixture(scope="module")
def registry():
    """A registry that everybody may use."""
    made = LocalRegistry()
    yield made
    made.stop()


def manifest_of(registry, name):
    """The manifest of `name` as the registry gives it."""
    path, _, tag = name.partition(":")
    kind = "application/vnd.oci.image.manifest.v1+json"
    request = Request(f"http://{registry.domain}/v2/{path}/manifests/{tag or 'latest'}", headers={"Accept": kind})
    with urlopen(request) as answer:
        return json.load(answer)


def test_what_was_published_runs_from_the_registry(stack, registry, tmp_path):
    project = stack(APP, **FILES)
    name = f"{registry.domain}/team/app:1"
    said = project.skiff("publish", "--with-env", "--yes", name).stderr
    assert f"Artifact {name} Published" in said
    manifest = manifest_of(registry, "team/app:1")
    assert manifest["artifactType"] == "application/vnd.docker.compose.project"
    layers = [(each["mediaType"].rpartition(".")[2], each["annotations"]) for each in manifest["layers"]]
    assert [kind for kind, _ in layers] == ["file+yaml", "file+yaml", "file+yaml", "envfile"]
    assert [about.get("com.docker.compose.file") for _, about in layers[:2]] == [
        "compose.yaml",
        "compose.override.yaml",
    ]
    assert layers[2][1]["com.docker.compose.extends"] == "true"
    assert all(about["com.docker.compose.version"] for _, about in layers)

    other = Project(project.home, tmp_path / "elsewhere", project.name)
    other.folder.mkdir()
    there = ("-f", f"oci://{name}", "--profile", "web")
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    labels = json.loads(other.skiff(*there, "config", "--format", "json", env=env).stdout)["services"]["web"]["labels"]
    assert labels == {"from": "base", "over": "ridden"}
    other.skiff(*there, "up", "-d", env=env)
    assert "from-a-file" in other.skiff(*there, "logs", env=env).stdout
    other.skiff(*there, "down", "-t", "0", env=env)


def test_the_version_of_the_specification_can_be_chosen_and_images_are_pinned(stack, registry):
    home_image = f"{registry.domain}/team/web:1"
    project = stack(
        f"services:\n  web: {{image: '{home_image}', build: .}}\n", Dockerfile="FROM busybox\nRUN touch /x\n"
    )
    project.skiff("build")
    project.skiff("publish", "--oci-version", "1.0", "--resolve-image-digests", "-y", f"{registry.domain}/pinned")
    manifest = manifest_of(registry, "pinned")
    assert "artifactType" not in manifest
    assert manifest["config"]["mediaType"] == "application/vnd.docker.compose.config.empty.v1+json"
    pins = registry.blob(manifest["layers"][-1]["digest"]).read_text()
    assert f"image: {home_image.rpartition(':')[0]}:1@sha256:" in pins
    pinned = project.skiff("-f", f"oci://{registry.domain}/pinned", "config", "--images").stdout
    assert "@sha256:" in pinned
    assert "unsupported OCI version" in project.refused("publish", "--oci-version", "2", "x")


def test_what_should_not_be_seen_is_asked_about_or_refused(stack, registry):
    name = f"{registry.domain}/asked"
    project = stack("services:\n  web: {image: busybox, environment: [A=1]}\n  own: {build: .}\n", Dockerfile="")
    assert 'only contains a build section for service(s): "own"' in project.refused("publish", name)
    project.write("services:\n  web: {image: busybox, environment: [A=1]}\n")
    assert "by using the --with-env flag" in project.refused("publish", name)
    said = project.refused("publish", "--with-env", name, input="")
    assert 'service "web": A=1' in said
    assert "nothing was published" in said
    project.write("services:\n  web: {image: busybox, environment: ['A=${HOME}', B]}\n")
    assert "Published" in project.skiff("publish", name).stderr
    project.write("services:\n  web: {image: busybox, volumes: ['/etc:/x'], labels: ['k=AKIA1234567890ABCDEF']}\n")
    said = project.skiff("publish", name, input="y\nn\n").stderr
    assert "web: /etc:/x" in said
    assert "AWS Access Key: compose.yaml:3" in said
    assert "Publish" not in said
    project.write("include: [other.yaml]\nservices:\n  web: {image: busybox}\n")
    (project.folder / "other.yaml").write_text("services: {other: {image: busybox}}\n")
    assert "compose.yaml:2:11: can't publish a file that includes another" in project.refused("publish", name)


def test_what_was_published_can_be_included(stack, registry, tmp_path):
    project = stack("services:\n  db: {image: busybox}\n")
    project.skiff("publish", f"{registry.domain}/parts/db:1")
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    project.write(f"include: ['oci://{registry.domain}/parts/db:1']\nservices:\n  web: {{image: busybox}}\n")
    assert project.skiff("config", "--services", env=env).stdout.split() == ["db", "web"]
    project.write(f"include: ['oci://{registry.domain}/parts/none:1']\n")
    said = project.refused("config", env=env)
    assert said.startswith("skiff: compose.yaml:2:11: include[0]: oci://"), said


def test_an_image_or_nothing_in_the_place_of_an_artifact_is_reported(stack, registry):
    project = stack("services:\n  web: {image: busybox}\n")
    assert "nothing:1 not found" in project.refused("-f", f"oci://{registry.domain}/nothing:1", "config")
    project.home.skiff("image", "tag", "busybox", f"{registry.domain}/image:1")
    project.home.skiff("image", "push", f"{registry.domain}/image:1")
    said = project.refused("-f", f"oci://{registry.domain}/image:1", "config")
    assert "is not a compose project OCI artifact, but application/" in said
    assert "Skiff's own engine" in project.refused("-H", "unix:///nosuch", "-f", f"oci://{registry.domain}/x", "config")


def test_a_dry_run_publishes_nothing(stack, registry):
    project = stack("services:\n  web: {image: busybox}\n")
    said = project.skiff("--dry-run", "publish", f"{registry.domain}/dry").stderr
    assert "DRY-RUN MODE - Artifact" in said
    with pytest.raises(OSError, match="404"):
        manifest_of(registry, "dry")
