"""Network features as a Compose file asks for them, in a running stack."""

import contextlib
import http.client
import json
import socket
import subprocess

import pytest

from tests.support.project import Project, eventually

pytestmark = pytest.mark.root

SERVER = "mkdir /www && echo {what} > /www/index.html && exec httpd -f -p 80 -h /www"


def serves(what):
    return SERVER.format(what=what)


def fetch(host, port):
    """Return the page at the root of a published port, or what went wrong."""
    try:
        with socket.create_connection((host, port), 5) as made:
            made.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: made.recv(4096), b"")).split(b"\r\n\r\n", 1)[-1].decode().strip()
    except OSError as error:
        return str(error)


def post(home, path, document):
    """Ask the engine's API to do something."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(home.run / "engine.sock"))
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status < 300, answer.read()


@pytest.fixture(scope="module")
def home(shared_home, busybox_tar):
    shared_home.skiff("image", "load", "-i", busybox_tar)
    return shared_home


@pytest.fixture
def stack(home, tmp_path):
    made = []

    def bring_up(text, *arguments, **files):
        project = Project.of(home, tmp_path / "stack", text, **files)
        made.append(project)
        project.skiff("up", "-d", *arguments)
        return project

    yield bring_up
    for project in made:
        project.skiff("down", "-t", "0", "-v", check=False)


def inside(project, service, *command):
    return project.skiff("exec", "-T", service, *command).stdout.strip()


def ports(project, service):
    return project.inspect(service)["NetworkSettings"]["Ports"]


def test_the_network_modes_give_what_they_say(stack):
    project = stack(
        f"""
        services:
          web:
            image: busybox
            container_name: skf-net-web
            command: ["sh", "-c", "{serves("web")}"]
          side:
            image: busybox
            network_mode: service:web
            command: sleep 100
          third:
            image: busybox
            network_mode: container:skf-net-web
            depends_on: [web]
            command: sleep 100
          bare:
            image: busybox
            network_mode: none
            command: sleep 100
          onhost:
            image: busybox
            network_mode: host
            command: sleep 100
        """
    )
    for service in ("side", "third"):
        assert eventually_fetched(project, service) == "web"
        assert inside(project, service, "hostname") == inside(project, "web", "hostname")
    assert inside(project, "bare", "ls", "/sys/class/net") == "lo"
    before = links()
    seen = set(inside(project, "onhost", "ls", "/proc/sys/net/ipv4/conf").split())
    assert seen >= before & links()  # devices of others come and go


def links():
    return set(subprocess.run(["ls", "/sys/class/net"], capture_output=True, text=True, check=True).stdout.split())


def eventually_fetched(project, service, url="http://127.0.0.1/"):
    """Ask from inside until the server is there: it is a process of its own, which starts after its container."""
    found = []

    def fetched():
        result = project.skiff("exec", "-T", service, "wget", "-qO-", url, check=False)
        found[:] = [result.stdout.strip()]
        return result.returncode == 0

    eventually(fetched, what=f"{url} from {service}")
    return found[0]


def test_ports_of_a_file_are_published_as_it_says(stack):
    with socket.socket() as one:  # a number that is free now
        one.bind(("", 0))
        first = one.getsockname()[1] % 20000 + 30000
    project = stack(
        f"""
        services:
          web:
            image: busybox
            command: ["sh", "-c", "{serves("web")}"]
            scale: 2
            ports:
              - "{first}-{first + 9}:80"
              - "80"
          local:
            image: busybox
            command: ["sh", "-c", "{serves("local")}"]
            ports:
              - "127.0.0.1::80"
              - "127.0.0.1::53/udp"
        """
    )
    replicas = [project.home.get(f"/containers/{one['ID']}/json") for one in project.containers()["web"]]
    published = [int(one["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]) for one in replicas]
    in_range = sorted(port for port in published if first <= port <= first + 9)
    assert len(in_range) == len(set(in_range)) == 2
    for port in published:
        for host in ("127.0.0.1", "::1"):
            eventually(lambda port=port, host=host: fetch(host, port) == "web", what=f"{host}:{port}")
    [local] = ports(project, "local")["80/tcp"]
    eventually(lambda: fetch("127.0.0.1", int(local["HostPort"])) == "local")
    assert "refused" in fetch("::1", int(local["HostPort"]))
    [udp] = ports(project, "local")["53/udp"]
    assert udp["HostIp"] == "127.0.0.1"


def test_both_families_of_a_published_port_are_shown_as_docker_shows_them(stack, home):
    project = stack("services: {r: {image: busybox, command: sleep 1000, ports: ['80', '127.0.0.1::81']}}")
    shown = ports(project, "r")
    [port] = {one["HostPort"] for one in shown["80/tcp"]}
    assert shown["80/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": port}, {"HostIp": "::", "HostPort": port}]
    assert [one["HostIp"] for one in shown["81/tcp"]] == ["127.0.0.1"]
    id = project.inspect("r")["Id"]
    [row] = [one for one in home.get("/containers/json") if one["Id"] == id]
    rows = [(one["IP"], one["PrivatePort"], one["PublicPort"]) for one in row["Ports"]]
    assert rows[:2] == [("0.0.0.0", 80, int(port)), ("::", 80, int(port))]
    assert f"0.0.0.0:{port}->80/tcp, [::]:{port}->80/tcp" in project.skiff("ps").stdout
    assert project.skiff("port", "r", "80").stdout == f"0.0.0.0:{port}\n"


@pytest.mark.parametrize("named", [False, True])
def test_a_container_is_found_by_its_hostname_too(stack, named):
    hostname = "hostname: inner.example" if named else ""
    project = stack(f"services: {{a: {{image: busybox, command: sleep 1000, container_name: n-a, {hostname}}}}}")
    about = project.inspect("a")
    [attached] = about["NetworkSettings"]["Networks"].values()
    more = ["inner.example"] if named else []
    # the container's name, its aliases, its ID, its host name: in Docker's order, each once
    assert attached["DNSNames"] == ["n-a", *(a for a in attached["Aliases"] if a != "n-a"), about["Id"][:12], *more]
    for name in attached["DNSNames"]:
        answer = project.skiff("exec", "a", "nslookup", "-type=a", name, "127.0.0.11").stdout
        assert attached["IPAddress"] in answer


def test_a_port_in_use_is_reported_before_anything_is_made(home, tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 0))
        port = other.getsockname()[1]
        project = Project.of(
            home,
            tmp_path / "taken",
            f"""
            services:
              web: {{image: busybox, command: sleep 100, ports: ["{port}:53/udp"]}}
            """,
        )
        result = project.skiff("up", "-d", check=False)
        assert result.returncode != 0
        assert f"0.0.0.0:{port}/udp is already in use by process" in result.stderr
        assert project.containers() == {}
        assert home.get("/networks?filters=%7B%22name%22%3A%5B%22taken%22%5D%7D") == []


def test_what_networks_of_a_file_ask_for_holds(stack):
    project = stack(
        f"""
        services:
          web:
            image: busybox
            command: ["sh", "-c", "{serves("web")}"]
            mac_address: 02:42:0a:d7:00:63
            networks:
              front:
                ipv4_address: 10.215.0.99
                ipv6_address: fd00:215::99
                aliases: [shop]
          asker:
            image: busybox
            command: sleep 100
            dns: 127.53.0.77
            networks: [front, back]
          alone:
            image: busybox
            command: sleep 100
            networks: [back]
        networks:
          front:
            enable_ipv6: true
            ipam:
              config:
                - subnet: 10.215.0.0/24
                  ip_range: 10.215.0.128/25
                  aux_addresses: {{router: 10.215.0.128}}
                - subnet: fd00:215::/64
          back:
            internal: true
        """
    )
    assert eventually_fetched(project, "asker", "http://shop/") == "web"
    assert eventually_fetched(project, "asker", "http://[fd00:215::99]/") == "web"
    assert "nameserver 127.0.0.11" in inside(project, "asker", "cat", "/etc/resolv.conf")
    front = next(
        network
        for name, network in project.inspect("asker")["NetworkSettings"]["Networks"].items()
        if name.endswith("front")
    )
    assert front["IPAddress"] == "10.215.0.129"
    assert project.skiff(
        "exec", "-T", "alone", "wget", "-T", "1", "-qO-", "http://10.215.0.99/", check=False
    ).returncode
    assert project.skiff("exec", "-T", "alone", "nslookup", "shop", check=False).returncode
    assert inside(project, "web", "cat", "/sys/class/net/eth0/address") == "02:42:0a:d7:00:63"


def test_a_published_port_outlives_the_engine_over_ipv6_too(stack, home):
    project = stack(
        f"""
        services:
          web: {{image: busybox, command: ["sh", "-c", "{serves("web")}"], ports: ["80"]}}
        """
    )
    [port] = {int(one["HostPort"]) for one in ports(project, "web")["80/tcp"]}
    eventually(lambda: fetch("::1", port) == "web")
    home.skiff("engine", "stop")
    assert fetch("127.0.0.1", port) == "web"
    home.skiff("engine", "start")
    assert {int(one["HostPort"]) for one in ports(project, "web")["80/tcp"]} == {port}
    assert [fetch(host, port) for host in ("127.0.0.1", "::1")] == ["web", "web"]


def test_who_shares_a_containers_network_stays_attached_when_that_one_restarts(stack, home):
    project = stack(
        f"""
        services:
          app:
            image: busybox
            init: true
            command: sleep 100
            ports: ["80"]
          server:
            image: busybox
            network_mode: service:app
            init: true
            command: ["sh", "-c", "{serves("server")}"]
        """
    )
    [port] = {int(one["HostPort"]) for one in ports(project, "app")["80/tcp"]}
    eventually(lambda: fetch("127.0.0.1", port) == "server")
    container = project.containers()["app"][0]["Name"]

    def networks():
        return home.get(f"/containers/{container}/json")["NetworkSettings"]["Networks"]["stack_default"]

    before = networks()
    for command in ("stop", "start"):
        project.skiff(command, "-t", "0", "app") if command == "stop" else project.skiff(command, "app")
        assert [fetch(host, port) for host in ("127.0.0.1", "::1")] == ["server", "server"], command
    assert networks()["IPAddress"] == before["IPAddress"]
    project.skiff("stop", "-t", "0", "app")
    home.skiff("engine", "stop")
    home.skiff("engine", "start")
    assert fetch("127.0.0.1", port) == "server"
    project.skiff("start", "app")
    assert [fetch(host, port) for host in ("127.0.0.1", "::1")] == ["server", "server"]
    project.skiff("stop", "-t", "0", "app")
    project.skiff("stop", "-t", "0", "server")
    assert "refused" in fetch("127.0.0.1", port)


@pytest.mark.parametrize("asked", ['ports: ["80"]', "hostname: side", "dns: 192.0.2.1", 'extra_hosts: ["a:192.0.2.1"]'])
def test_what_only_the_owner_of_a_network_can_ask_for_is_refused_to_who_shares_it(home, tmp_path, asked):
    project = Project.of(
        home,
        tmp_path / "sharing",
        f"""
        services:
          web: {{image: busybox, command: sleep 100}}
          side: {{image: busybox, command: sleep 100, network_mode: "service:web", {asked}}}
        """,
    )
    try:
        result = project.skiff("up", "-d", check=False)
        assert result.returncode != 0
        assert "network mode" in result.stderr or "network_mode" in result.stderr
    finally:
        project.skiff("down", "-t", "0")


def test_a_running_container_is_moved_to_a_network_with_its_port_and_names(stack, home):
    project = stack(
        f"""
        services:
          web:
            image: busybox
            command: ["sh", "-c", "{serves("web")}"]
            networks: [inner]
            ports: ["80"]
          other: {{image: busybox, command: sleep 100, networks: [outer]}}
        networks:
          inner: {{internal: true}}
          outer: {{}}
        """
    )
    assert not ports(project, "web")["80/tcp"]
    web = project.containers()["web"][0]["ID"]
    post(home, "/networks/stack_outer/connect", {"Container": web, "EndpointConfig": {"Aliases": ["shop"]}})
    [port] = {int(one["HostPort"]) for one in ports(project, "web")["80/tcp"]}
    eventually(lambda: fetch("127.0.0.1", port) == "web")
    assert eventually_fetched(project, "other", "http://shop/") == "web"
    post(home, "/networks/stack_outer/disconnect", {"Container": web})
    assert "refused" in fetch("127.0.0.1", port)
