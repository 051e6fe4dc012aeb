"""`skiff oci` on either cgroup version: limits, rules on devices, freezing, what is left at the end."""

import json
import os
from pathlib import Path

import pytest

from runtime.oci.cgroup import Cgroups

pytestmark = pytest.mark.root


def read(path, file):
    """Return what the cgroup file holds: "version 1's/version 2's"."""
    cgroups = Cgroups()
    legacy, _, unified = file.partition("/")
    directories = cgroups.directories(path)
    directory, name = (
        (directories["unified"], unified) if cgroups.is_unified else (directories[legacy.split(".")[0]], legacy)
    )
    return Path(directory, name).read_text().strip()


def test_limits_are_set_changed_and_gone_with_the_container(oci, is_unified):
    document = oci.document("sleep", "1000")
    document["linux"]["resources"].update(
        memory={"limit": 64 << 20}, cpu={"quota": 20000, "period": 50000}, pids={"limit": 77}
    )
    if is_unified:
        document["linux"]["resources"]["unified"] = {"memory.high": str(48 << 20)}
    identity = oci.started(document)
    path = f"/skiff.oci/{identity}"
    assert read(path, "memory.limit_in_bytes/memory.max") == str(64 << 20)
    assert read(path, "pids.max/pids.max") == "77"
    if is_unified:
        assert (read(path, "/cpu.max"), read(path, "/memory.high")) == ("20000 50000", str(48 << 20))
    oci("update", "--memory", "80m", "--pids-limit", "66", identity)
    assert read(path, "memory.limit_in_bytes/memory.max") == str(80 << 20)
    assert read(path, "pids.max/pids.max") == "66"
    told = json.loads(oci("events", "--stats", identity).stdout)["data"]
    assert (told["pids"], told["memory"]["usage"]["limit"]) == ({"current": 1, "limit": 66}, 80 << 20)
    oci("delete", "--force", identity)
    assert not any(os.path.exists(directory) for directory in Cgroups().directories(path).values())


def test_pausing_and_devices(oci):
    document = oci.document("sleep", "1000")
    document["linux"]["devices"] = [{"path": "/dev/odd", "type": "c", "major": 10, "minor": 237}]
    identity = oci.started(document)
    done = oci(
        "exec", identity, "sh", "-c", "echo x > /dev/null; cat /proc/self/cgroup; head -c 1 /dev/odd", check=False
    )
    assert "Operation not permitted" in done.stderr
    assert "skiff" not in done.stdout
    oci("pause", identity)
    assert oci.get(identity)["status"] == "paused"
    oci("resume", identity)
    assert oci.get(identity)["status"] == "running"
