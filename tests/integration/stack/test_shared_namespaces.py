"""Services that share a namespace or volumes of others: what becomes of them when those are replaced."""

import pytest

pytestmark = pytest.mark.root

SLEEP = "image: busybox, init: true, command: sleep infinity"
SHARING = f"""
services:
  db: {{{SLEEP}}}
  net: {{{SLEEP}, network_mode: "service:db"}}
  ids: {{{SLEEP}, pid: "service:db"}}
  vol: {{{SLEEP}, volumes_from: [db]}}
"""


def ids(project):
    return {service: containers[0]["ID"] for service, containers in project.containers().items()}


def test_when_a_provider_of_namespaces_is_replaced_its_dependants_are_recreated(stack):
    project = stack(SHARING)
    project.skiff("up", "-d", "-t", "0")
    before = ids(project)
    project.skiff("up", "-d", "-t", "0")
    assert ids(project) == before
    project.skiff("rm", "-sf", "db")
    project.skiff("up", "-d", "--no-deps", "db")
    project.skiff("up", "-d", "-t", "0")
    after = ids(project)
    assert [service for service in after if after[service] == before[service]] == []
    db = project.inspect("db")["Id"]
    assert project.inspect("net")["HostConfig"]["NetworkMode"] == f"container:{db}"
    assert project.inspect("ids")["HostConfig"]["PidMode"] == f"container:{db}"
    assert project.inspect("vol")["HostConfig"]["VolumesFrom"] == [db]
    assert "eth0" in project.skiff("exec", "net", "ip", "addr").stdout


def test_without_its_provider_a_service_is_refused_by_name(stack):
    project = stack(SHARING)
    told = project.refused("up", "-d", "--no-deps", "net")
    assert "cannot share network namespace with service db: container missing" in told
    assert "cannot share volume with service db: container missing" in project.refused("up", "-d", "--no-deps", "vol")
