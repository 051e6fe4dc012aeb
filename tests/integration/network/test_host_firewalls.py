"""A machine whose own firewall drops what passes through it, as Docker's and ufw's do."""

import secrets
import socket
import subprocess
from contextlib import contextmanager
from functools import partial

import pytest

from runtime.linux import netns
from tests.conftest import SKIFF
from tests.support.project import Project, kill_and_wait, pid_of

pytestmark = pytest.mark.root

FIREWALL = """
table ip filter {
    chain FORWARD { type filter hook forward priority 0; policy drop; }
}
table inet firewalld {
    chain filter_FORWARD { type filter hook forward priority 10; policy accept; reject; }
}
"""
STACK = """
name: guarded
services:
  web:
    image: busybox
    init: true
    command: sh -c 'echo within > /tmp/index.html; exec httpd -f -h /tmp'
    ports: ["8080:80"]
    healthcheck: {test: "wget -q -O /dev/null http://127.0.0.1/", interval: 50ms, retries: 200}
"""


@contextmanager
def wired():
    """Give the names of two namespaces, a machine (198.51.100.1) and its neighbour (198.51.100.2)."""
    machine, neighbour = (f"skf{secrets.token_hex(3)}" for _ in range(2))
    for command in (
        f"ip netns add {machine}",
        f"ip netns add {neighbour}",
        f"ip -n {machine} link add wire type veth peer name wire netns {neighbour}",
        f"ip -n {machine} addr add 198.51.100.1/30 dev wire",
        f"ip -n {neighbour} addr add 198.51.100.2/30 dev wire",
        *(f"ip -n {name} link set {device} up" for name in (machine, neighbour) for device in ("wire", "lo")),
    ):
        subprocess.run(command.split(), check=True)
    try:
        yield machine, neighbour
    finally:
        for name in (machine, neighbour):
            subprocess.run(["ip", "netns", "del", name], check=True)


class Machine:
    """Commands on the machine behind the firewall."""

    def __init__(self, project, name):
        self.project, self.name = project, name

    def run(self, *command):
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.name}", *command],
            cwd=self.project.folder,
            env=self.project.home.env,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    def skiff(self, *arguments):
        return self.run(*SKIFF, *arguments)

    def rules(self):
        """Our rules in the chains of others."""
        listed = self.run("nft", "list", "table", "ip", "filter") + self.run(
            "nft", "list", "table", "inet", "firewalld"
        )
        return [line.strip() for line in listed.splitlines() if "skiff-" in line]


def test_a_dropping_firewall_of_the_host_lets_containers_out_and_callers_in(home, busybox, tmp_path):
    home.stop()
    with wired() as (name, neighbour):
        machine = Machine(Project.of(home, tmp_path, STACK), name)
        (tmp_path / "firewall").write_text(FIREWALL)
        machine.run("nft", "-f", "firewall")
        try:
            machine.skiff("up", "-d", "--wait")
            assert len(machine.rules()) == 4
            make = partial(netns.inside, f"/run/netns/{neighbour}")
            with make(partial(socket.create_connection, ("198.51.100.1", 8080), 5)) as caller:
                caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert caller.makefile("rb").read().endswith(b"within\n")
            with make(partial(socket.create_server, ("198.51.100.2", 9000))) as outside:
                outside.settimeout(5)
                machine.skiff("exec", "-T", "web", "nc", "-w", "5", "198.51.100.2", "9000", "-e", "true")
                outside.accept()[0].close()

            kill_and_wait(pid_of(home, "engine"))
            machine.skiff("ps")
            assert len(machine.rules()) == 4
            # opened since then: what lies in it is taken out all the same
            machine.run("nft", "chain", "ip", "filter", "FORWARD", "{ policy accept; }")
            machine.skiff("down")
            assert machine.rules() == []
        finally:
            home.stop()
