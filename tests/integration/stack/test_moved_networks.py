"""Networks whose definition or name changes: containers are moved to the new one and stay what they are."""

import pytest

pytestmark = pytest.mark.root

SLEEP = "image: busybox, init: true, command: sleep infinity, stop_grace_period: 0s"


def stack_of(network, name=""):
    named = f"name: {name}, " if name else ""
    return f"""
services:
  a: {{{SLEEP}, networks: {{back: {{aliases: [other], interface_name: back0}}}}}}
  b: {{{SLEEP}, networks: [back]}}
  idle: {{{SLEEP}, networks: [back]}}
networks: {{back: {{{named}{network}}}}}
"""


def test_containers_keep_what_is_in_them_when_their_network_changes_or_gets_another_name(stack):
    project = stack(stack_of("internal: false"))
    project.skiff("up", "-d")
    project.skiff("exec", "a", "touch", "/kept")
    assert "back0" in project.skiff("exec", "a", "ip", "link").stdout
    before = {name: found[0]["ID"] for name, found in project.containers().items()}
    for text, name in (
        (stack_of("internal: true"), f"{project.name}_back"),
        (stack_of("internal: true", f"{project.name}x"), f"{project.name}x"),
    ):
        project.skiff("stop", "idle")
        project.write(text)
        project.skiff("up", "-d")
        assert {service: found[0]["ID"] for service, found in project.containers().items()} == before
        for service in ("b", "idle"):
            project.skiff("exec", service, "ping", "-c1", "other")
        project.skiff("exec", "a", "ls", "/kept")
        assert list(project.inspect("a")["NetworkSettings"]["Networks"]) == [name]
    assert f"{project.name}_back" not in [network["Name"] for network in project.home.get("/networks")]


def test_a_link_names_a_container_on_the_engines_own_network(stack):
    project = stack(
        f"""
services:
  db: {{{SLEEP}, network_mode: bridge}}
  web: {{{SLEEP}, network_mode: bridge, links: ["db:store", db], cgroup_parent: /mine}}
"""
    )
    project.skiff("up", "-d")
    project.skiff("exec", "web", "ping", "-c1", "store")
    project.skiff("exec", "web", "ping", "-c1", "db")
    assert project.inspect("web")["HostConfig"]["CgroupParent"] == "/mine"
