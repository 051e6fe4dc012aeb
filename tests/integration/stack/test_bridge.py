"""`bridge`: transformer images that read the model and write files."""

import pytest

pytestmark = pytest.mark.root

TRANSFORMER = """
services:
  tool:
    image: transformer:test
    build:
      dockerfile_inline: |
        FROM busybox
        LABEL com.docker.compose.bridge=transformation
        RUN mkdir /templates && echo a template > /templates/one
        CMD ["sh", "-c", "cat /in/compose.yaml > /out/model.yaml; cat /templates/one; id -u > /out/user; echo written"]
"""
PROJECT = """
services:
  web: {image: transformer:test, ports: ["8080:80"], secrets: [key]}
secrets: {key: {file: ./key}}
"""


def test_transformers_write_what_they_make_of_a_project(stack):
    stack(TRANSFORMER).skiff("build")
    project = stack(PROJECT, key="from file")
    (project.folder / "out").mkdir()
    (project.folder / "out/old").touch()
    said = project.refused("bridge", "convert", "-t", "transformer:test", input="n\n")
    assert "deletion of output directory 'out' was not confirmed" in said
    made = project.skiff("bridge", "convert", "-t", "transformer:test", "-o", "made").stdout
    assert made == "a template\nwritten\n"
    model = (project.folder / "made/model.yaml").read_text()
    assert "content: from file" in model
    assert "expose:" in model
    assert (project.folder / "made/user").read_text() == "0\n"
    (project.folder / "own").mkdir()
    (project.folder / "own/one").write_text("mine\n")
    own = project.skiff("bridge", "convert", "-t", "transformer:test", "-o", "made2", "--templates", "own").stdout
    assert own == "mine\nwritten\n"
    assert project.skiff("bridge", "transformations", "ls").stdout.splitlines()[1].split()[1:3] == [
        "transformer",
        "test",
    ]
    project.skiff("bridge", "transformations", "create", "copied", "--from", "transformer:test")
    assert (project.folder / "copied/templates/one").read_text() == "a template\n"
    assert "com.docker.compose.bridge=transformation" in (project.folder / "copied/Dockerfile").read_text()
    assert "already exists" in project.refused("bridge", "transformations", "create", "copied")
