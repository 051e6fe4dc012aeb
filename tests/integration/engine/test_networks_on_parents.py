"""macvlan and ipvlan networks: containers with a device of their own on an interface of the host."""

import subprocess

import pytest

pytestmark = pytest.mark.root
POOL = {"Subnet": "10.78.4.0/24", "Gateway": "10.78.4.1"}


@pytest.fixture(scope="module")
def parent():
    """An interface with a neighbour at 10.78.4.1, as a machine's network card has one."""
    for command in (
        "ip link add mvparent type veth peer name mvpeer",
        "ip link set mvparent up",
        "ip link set mvpeer up",
        "ip addr add 10.78.4.1/24 dev mvpeer",
    ):
        subprocess.run(command.split(), check=True)
    yield "mvparent"
    subprocess.run(["ip", "link", "delete", "mvparent"], check=True)


@pytest.fixture
def network(api):
    made = []

    def make(name, **body):
        answer = api.ask("POST", "/networks/create", {"Name": name, **body})
        made.append(name)
        return answer

    yield make
    for name in made:
        api.ask("DELETE", f"/networks/{name}")


def output(api, container, *command):
    """Run a command in the container; return what comes of it, as it is framed."""
    body = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
    id = api.ask("POST", f"/containers/{container}/exec", body).json["Id"]
    return api.ask("POST", f"/exec/{id}/start", {"Detach": False}).body


def attached(api, id, name):
    return api.ask("GET", f"/containers/{id}/json").json["NetworkSettings"]["Networks"][name]


def test_a_macvlan_container_is_a_neighbour_on_the_parents_wire(api, network, parent, shared_home, containers):
    body = {"Driver": "macvlan", "IPAM": {"Config": [POOL]}, "Options": {"parent": parent}}
    assert network("wire", **body).status == 201
    shown = api.ask("GET", "/networks/wire").json
    assert (shown["Driver"], shown["Options"], shown["IPAM"]["Config"]) == ("macvlan", {"parent": parent}, [POOL])
    host = {"NetworkMode": "wire", "PortBindings": {"80/tcp": [{"HostPort": "18096"}]}}
    one = containers("sleep", "60", HostConfig=host, ExposedPorts={"80/tcp": {}})
    two = containers("sleep", "60", HostConfig={"NetworkMode": "wire"})
    about = attached(api, one, "wire")
    assert about["IPAddress"].startswith("10.78.4.")
    assert about["Gateway"] == "10.78.4.1"
    assert b"default via 10.78.4.1 dev eth0" in output(api, one, "ip", "route")
    for name in ("10.78.4.1", two[:12]):  # a neighbour of the host's, and one by name as on every network of a user's
        assert b" 0% packet loss" in output(api, one, "ping", "-c", "1", "-w", "5", name)
    # nothing is published, as nothing stands between
    assert api.ask("GET", f"/containers/{one}/json").json["NetworkSettings"]["Ports"] == {"80/tcp": None}
    assert api.ask("POST", "/networks/wire/disconnect", {"Container": one}).status == 200
    assert b"eth0" not in output(api, one, "ls", "/sys/class/net")
    for container in (one, two):
        api.ask("DELETE", f"/containers/{container}?force=1")
    assert api.ask("DELETE", "/networks/wire").status == 204


def test_a_macvlan_network_without_a_parent_is_closed(api, network, containers):
    assert network("closed", Driver="macvlan").status == 201
    one = containers("sh", "-c", "ip route; sleep 60", HostConfig={"NetworkMode": "closed"})
    two = containers("sh", "-c", f"ping -c 1 -w 5 {one[:12]} && echo reached", HostConfig={"NetworkMode": "closed"})
    api.ask("POST", f"/containers/{two}/wait")
    assert b"reached" in api.ask("GET", f"/containers/{two}/logs?stdout=1").body
    assert b"default" not in api.ask("GET", f"/containers/{one}/logs?stdout=1").body


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"parent": "no-such-card"}, 400, "the parent interface no-such-card of network refused was not found"),
        ({"macvlan_mode": "dance"}, 400, "requested macvlan mode 'dance' is not valid"),
    ],
)
def test_what_no_device_can_be_on_is_refused(network, options, status, message):
    answer = network("refused", Driver="macvlan", Options=options)
    assert (answer.status, message in answer.message) == (status, True), answer.message


def test_ipvlan_is_offered_where_the_kernel_has_it(api, network, parent, containers):
    body = {"Driver": "ipvlan", "IPAM": {"Config": [POOL]}, "Options": {"parent": parent}}
    assert network("levels", **body).status == 201
    id = containers("sleep", "60", start=False, HostConfig={"NetworkMode": "levels"})
    answer = api.ask("POST", f"/containers/{id}/start")
    if answer.status != 204:
        assert (answer.status, answer.message) == (
            500,
            "failed to set up container networking: this kernel has no ipvlan",
        )
    else:
        assert attached(api, id, "levels")["IPAddress"].startswith("10.78.4.")


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_the_loopback_interface_is_no_parent(network, driver):
    answer = network("on-loopback", Driver=driver, Options={"parent": "lo"})
    assert (answer.status, answer.message) == (400, f"loopback interface is not a valid {driver} parent link")
