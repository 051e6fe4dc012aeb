"""`logs` with filters, as JSON, by runs; what it says between the lines of runs."""

import json

import pytest

from tests.support.project import eventually

pytestmark = pytest.mark.root

STACK = """
services:
  app:
    image: busybox
    command: ["sh", "-c", "echo INFO one; echo ERROR two; echo '  of two'; echo ERROR three >&2; sleep infinity"]
    stop_grace_period: 0s
  hog: {image: busybox, mem_limit: 20m, command: ["sh", "-c", "echo begin; tail /dev/zero"]}
"""


def test_logs_are_filtered_bounded_by_runs_and_written_as_json(stack):
    project = stack(STACK)
    project.skiff("up", "-d")

    def logs(*flags):
        return project.skiff("logs", "--no-log-prefix", *flags).stdout

    eventually(lambda: "three" in logs("app") and project.inspect("hog")["State"]["Status"] == "exited")
    assert logs("app", "--grep", "t[wh]", "--exclude", "^ERROR th") == "ERROR two\n  of two\n"
    assert logs("--level", "error") == "ERROR two\n  of two\nERROR three\n"
    assert logs("app", "--stderr") == "ERROR three\n"
    (line,) = project.skiff("logs", "--json", "--stderr").stdout.splitlines()
    document = json.loads(line)
    assert document.pop("time").startswith("20")
    assert document == {"container": "app-1", "stream": "stderr", "line": "ERROR three"}
    assert "--level: 'loud' is no level" in project.refused("logs", "--level", "loud")

    assert "Exited (137) " in project.skiff("ps", "-a").stdout
    assert ", out of memory" in project.skiff("ps", "-a").stdout
    assert "memory" not in project.skiff("ps", "-a", "--format", "json").stdout
    assert "hog-1 exited with code 137, out of memory at 20" in logs("--marks", "hog")

    project.skiff("restart", "app")
    eventually(lambda: logs("app").count("three") == 2)
    assert logs("app", "--since", "last-restart").count("three") == 1
    assert logs("app", "--since", "last-up").count("three") == 2
    marked = logs("--marks", "app")
    assert marked.count("app-1 has been restarted\n") == 1
    assert marked.index("three") < marked.index("restarted") < marked.rindex("three")


def test_who_follows_sees_that_a_container_was_recreated_restarted_and_out_of_memory(stack):
    project = stack(STACK)
    project.skiff("up", "-d", "app")
    with project.spawn("logs", "-f", "--grep", "three") as process:

        def read():
            return process.stdout.readline().decode()

        assert read() == "app-1  | ERROR three\n"
        project.skiff("up", "-d", "--force-recreate", "app")
        assert [read() for _ in range(3)] == [
            "app-1 exited with code 137\n",
            "app-1 has been recreated\n",
            "app-1  | ERROR three\n",
        ]
        project.skiff("kill", "app")
        assert read() == "app-1 exited with code 137\n"
        process.wait(20)
