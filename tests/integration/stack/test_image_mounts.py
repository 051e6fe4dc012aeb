"""Images that services mount, built by others of the project."""

import pytest

pytestmark = pytest.mark.root

MOUNTING = """
services:
  data:
    image: mounted:test
    build: {dockerfile_inline: "FROM scratch\\nCOPY file /file"}
    scale: 0
  app:
    image: busybox
    init: true
    command: sleep infinity
    stop_grace_period: 0s
    volumes: [{type: image, source: "mounted:test", target: /data}]
"""


def test_a_mounted_image_is_built_and_its_user_recreated_when_it_is_another(stack):
    project = stack(MOUNTING, file="one")
    project.skiff("up", "-d")
    assert project.skiff("exec", "app", "cat", "/data/file").stdout == "one"
    first = project.inspect("app")["Id"]
    project.skiff("up", "-d")
    assert project.inspect("app")["Id"] == first
    (project.folder / "file").write_text("two")
    project.skiff("build", "data")
    project.skiff("up", "-d")
    assert project.skiff("exec", "app", "cat", "/data/file").stdout == "two"
