"""docker-py against our engine."""

import docker
import pytest

pytestmark = pytest.mark.root


def test_run_returns_the_output(client):
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"


def test_a_container_is_seen_through_its_life(client):
    container = client.containers.create("busybox", ["sh", "-c", "echo one; exit 3"], name="seen", labels={"k": "v"})
    try:
        assert container.status == "created"
        container.start()
        assert container.wait()["StatusCode"] == 3
        assert container.logs() == b"one\n"
        assert [c.name for c in client.containers.list(all=True, filters={"label": "k=v"})] == ["seen"]
    finally:
        container.remove()


def test_exec_distinguishes_streams(client):
    container = client.containers.run("busybox", ["sleep", "60"], detach=True)
    try:
        code, (out, err) = container.exec_run(["sh", "-c", "echo o; echo e >&2; exit 2"], demux=True)
        assert (code, out, err) == (2, b"o\n", b"e\n")
    finally:
        container.remove(force=True)


def test_a_missing_image_is_an_image_not_found(client):
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("no-such-image")
