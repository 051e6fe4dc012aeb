"""Every change of the API from version 1.50 on, as a client of that version and one of the version before meet it.

Source: moby, "Engine API version history".
"""

import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.root
VERSIONS = ["1.24", "1.44", "1.49", "1.50", "1.51", "1.52", "1.53", "1.54", "1.55", "1.56"]
ABSENT = object()


def number(version):
    return tuple(map(int, version.split(".")))


@pytest.fixture(scope="module")
def made(api):
    container = api.make("sleep", "60", name="versions", Labels={"a": "b"})
    assert api.ask("POST", f"/containers/{container}/start").status == 204
    yield container
    api.ask("DELETE", f"/containers/{container}?force=1")


def at(*path):
    """Returns a look at one member of a document, or ABSENT."""

    def look(document):
        for part in path:
            if isinstance(document, dict) and part not in document:
                return ABSENT
            document = document[part]
        return document

    return look


def counts_users(document):
    """Whether the first image says how many containers are of it: this test's, and maybe those of others."""
    return document[0]["Containers"] > 0


def is_there(*path):
    return lambda document: at(*path)(document) is not ABSENT


CHANGES = [
    ("1.50", "/images/busybox/json", is_there("Config", "Hostname"), True, False),
    ("1.51", "/images/json?filters=%7B%22reference%22%3A%5B%22busybox%22%5D%7D", counts_users, False, True),
    ("1.52", "/images/busybox/json", is_there("Config", "Entrypoint"), True, False),
    ("1.52", "/images/busybox/json", is_there("Config", "Env"), True, True),
    ("1.52", "/images/busybox/json", is_there("Author"), True, False),
    ("1.52", "/images/busybox/json", is_there("Parent"), True, False),
    ("1.52", "/images/busybox/json", is_there("DockerVersion"), True, False),
    ("1.52", "/containers/versions/json", is_there("Config", "OnBuild"), True, False),
    *(
        ("1.52", "/containers/versions/json", is_there("NetworkSettings", name), True, False)
        for name in (
            "Bridge",
            "HairpinMode",
            "IPAddress",
            "Gateway",
            "MacAddress",
            "SecondaryIPAddresses",
            "EndpointID",
        )
    ),
    ("1.52", "/containers/versions/json", is_there("NetworkSettings", "Networks", "bridge", "IPAddress"), True, True),
    ("1.52", "/containers/versions/stats?stream=0&one-shot=1", at("os_type"), ABSENT, "linux"),
    ("1.52", "/networks/bridge", is_there("Status", "IPAM", "Subnets"), False, True),
    ("1.52", "/system/df", is_there("ImageUsage", "TotalCount"), False, True),
    ("1.52", "/system/df", is_there("BuildCacheUsage", "Items"), False, False),
    ("1.52", "/system/df?verbose=1", is_there("ContainerUsage", "Items"), False, True),
    ("1.52", "/system/df?verbose=1", is_there("LayersSize"), True, False),
    ("1.53", "/system/df", is_there("LayersSize"), True, False),
    ("1.53", "/system/df", is_there("Volumes"), True, False),
    ("1.55", "/images/busybox/attestations", bool, True, False),  # page not found, then an empty list
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("since", "path", "look", "before", "after"), CHANGES)
def test_a_change_is_met_from_its_version_on(api, made, since, path, look, before, after, version):
    document = api.ask("GET", f"/v{version}{path}").json
    assert look(document) == (after if number(version) >= number(since) else before)


@pytest.mark.parametrize("version", VERSIONS)
def test_events_lost_their_old_members(api, made, version):
    api.ask("POST", f"/containers/{made}/rename?name=renamed-{version}")
    api.ask("POST", f"/containers/{made}/rename?name=versions")
    filters = quote(json.dumps({"container": [made], "event": ["rename"]}))
    answer = api.ask("GET", f"/v{version}/events?since={time.time() - 5}&until={time.time() + 0.2}&filters={filters}")
    lines = [json.loads(line) for line in answer.body.splitlines() if line.startswith(b"{")]
    assert lines
    assert all((name in line) == (number(version) < (1, 52)) for line in lines for name in ("status", "id", "from"))


@pytest.mark.parametrize(
    ("version", "accepted", "kind"),
    [
        ("1.51", "application/x-ndjson", "application/json"),
        ("1.52", "application/x-ndjson", "application/x-ndjson"),
        ("1.52", "application/jsonl", "application/json"),
        ("1.53", "text/html, application/jsonl;q=0.5", "application/jsonl"),
        ("1.52", "application/json-seq", "application/json-seq"),
        ("1.55", "*/*", "application/json"),
    ],
)
def test_events_come_in_the_form_that_the_client_accepts(api, made, version, accepted, kind):
    api.ask("POST", f"/containers/{made}/rename?name=formed")
    api.ask("POST", f"/containers/{made}/rename?name=versions")
    answer = api.ask("GET", f"/v{version}/events?since={time.time() - 5}&until={time.time()}", Accept=accepted)
    assert answer.headers["content-type"] == kind
    assert (b"\x1e{" in answer.body) == (kind == "application/json-seq")


@pytest.mark.parametrize(("version", "address"), [("1.51", "02:42:ac:11:00:99"), ("1.52", "")])
def test_an_address_for_the_whole_container_is_no_longer_heeded(api, version, address):
    body = {"Image": "busybox", "Cmd": ["true"], "MacAddress": "02:42:ac:11:00:99"}
    id = api.ask("POST", f"/v{version}/containers/create", body).json["Id"]
    about = api.ask("GET", f"/containers/{id}/json").json
    api.ask("DELETE", f"/containers/{id}")
    assert about["NetworkSettings"]["Networks"]["bridge"]["MacAddress"] == address


@pytest.mark.parametrize(("version", "is_warned"), [("1.51", False), ("1.52", True)])
def test_an_empty_list_of_port_bindings_is_warned_of(api, version, is_warned):
    host = {"PortBindings": {"80/tcp": []}}
    answer = api.ask("POST", f"/v{version}/containers/create", {"Image": "busybox", "HostConfig": host}).json
    api.ask("DELETE", f"/containers/{answer['Id']}")
    assert any("80/tcp" in warning for warning in answer["Warnings"]) == is_warned


def test_limits_of_devices_are_updated_and_taken_away_since_1_55(api, containers):
    device = next(line.split()[0] for line in Path("/proc/mounts").read_text().splitlines() if line.startswith("/dev/"))
    id = containers("sleep", "60")
    limit = {"BlkioDeviceReadBps": [{"Path": device, "Rate": 1 << 20}]}

    def shown():
        return api.ask("GET", f"/containers/{id}/json").json["HostConfig"]["BlkioDeviceReadBps"]

    assert api.ask("POST", f"/v1.54/containers/{id}/update", limit).status == 200
    assert shown() is None
    assert api.ask("POST", f"/v1.55/containers/{id}/update", limit).status == 200
    assert shown() == limit["BlkioDeviceReadBps"]
    assert api.ask("POST", f"/v1.55/containers/{id}/update", {"Memory": 64 << 20, "MemorySwap": -1}).status == 200
    assert shown() == limit["BlkioDeviceReadBps"]
    assert api.ask("POST", f"/v1.55/containers/{id}/update", {"BlkioDeviceReadBps": []}).status == 200
    assert shown() == []


def test_who_names_no_version_is_answered_as_by_dockerd_28(api, made):
    assert api.ask("GET", "/version").json["ApiVersion"] == "1.51"
    assert api.ask("GET", "/v1.55/version").json["ApiVersion"] == "1.56"
    assert "IPAddress" in api.ask("GET", f"/containers/{made}/json").json["NetworkSettings"]


def test_a_networks_addresses_are_counted(api):
    pool = {"Subnet": "10.231.7.0/24", "IPRange": "10.231.7.0/28", "AuxiliaryAddresses": {"kept": "10.231.7.5"}}
    id = api.ask("POST", "/networks/create", {"Name": "counted", "IPAM": {"Config": [pool]}}).json["Id"]
    status = api.ask("GET", f"/v1.52/networks/{id}").json["Status"]["IPAM"]["Subnets"]
    api.ask("DELETE", f"/networks/{id}")
    # the network, its gateway, the kept one, and the address for all, which lies outside of the range
    assert status == {"10.231.7.0/24": {"IPsInUse": 4, "DynamicIPsAvailable": 13}}


def test_a_umask_is_the_containers_and_its_execs_since_1_56(api):
    for version, expected in (("1.55", "0022"), ("1.56", "0027")):
        body = {"Image": "busybox", "Cmd": ["sh", "-c", "umask; sleep 60"], "HostConfig": {"Umask": 0o27}}
        id = api.ask("POST", f"/v{version}/containers/create", body).json["Id"]
        try:
            api.ask("POST", f"/containers/{id}/start")
            exec_id = api.ask(
                "POST", f"/containers/{id}/exec", {"Cmd": ["sh", "-c", "umask"], "AttachStdout": True}
            ).json["Id"]
            shown = api.ask("POST", f"/exec/{exec_id}/start", {"Tty": False}).body
            assert shown[8:].decode().strip() == expected
            assert expected.encode() in api.ask("GET", f"/containers/{id}/logs?stdout=1").body
            host = api.ask("GET", f"/containers/{id}/json").json["HostConfig"]
            assert host.get("Umask") == (0o27 if version == "1.56" else None)
        finally:
            api.ask("DELETE", f"/containers/{id}?force=1")
    answer = api.ask("POST", "/v1.56/containers/create", {"Image": "busybox", "HostConfig": {"Umask": 0o1000}})
    assert (answer.status, answer.message) == (400, "invalid umask: 512")


def test_containers_are_found_by_annotations_since_1_56(api):
    body = {"Image": "busybox", "HostConfig": {"Annotations": {"found.by": "this"}}}
    id = api.ask("POST", "/containers/create", body).json["Id"]

    def found(wanted, version="1.56"):
        answer = api.ask(
            "GET", f"/v{version}/containers/json?all=1&filters={quote(json.dumps({'annotation': [wanted]}))}"
        )
        return answer.message if answer.status != 200 else [one["Id"] for one in answer.json]

    try:
        assert found("found.by") == found("found.by=this") == [id]
        assert found("found.by=that") == []
        assert found("found.by", "1.55") == "invalid filter 'annotation'"
    finally:
        api.ask("DELETE", f"/containers/{id}")


def test_a_prune_streams_what_it_removes_as_it_does_since_1_56(api):
    filters = quote(json.dumps({"label": ["pruned.by=stream"]}))

    def make():
        labels = {"pruned.by": "stream"}
        container = api.ask("POST", "/containers/create", {"Image": "busybox", "Labels": labels}).json["Id"]
        api.ask("POST", "/networks/create", {"Name": "streamed", "Labels": labels})
        api.ask("POST", "/volumes/create", {"Name": "streamed", "Labels": labels})
        return container

    for version, query in (("1.55", "&stream=1"), ("1.56", "")):
        container = make()
        answer = api.ask("POST", f"/v{version}/containers/prune?filters={filters}{query}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json["ContainersDeleted"] == [container]
    container = make()
    everything = quote(json.dumps({"label": ["pruned.by=stream"], "all": ["true"]}))
    for kind, wanted, id, member in (
        ("containers", filters, container, "ContainersDeleted"),
        ("networks", filters, "streamed", "NetworksDeleted"),
        ("volumes", everything, "streamed", "VolumesDeleted"),
    ):
        answer = api.ask("POST", f"/v1.56/{kind}/prune?stream=true&filters={wanted}")
        assert answer.headers["content-type"] == "application/jsonl"
        first, last = map(json.loads, answer.body.splitlines())
        assert first == {"id": id, "status": "deleted"}
        assert last["aux"][member] == [id]
    refused = api.ask("POST", f"/v1.56/volumes/prune?stream=true&filters={quote(json.dumps({'nosuch': ['x']}))}")
    assert (refused.status, refused.message) == (400, "invalid filter 'nosuch'")
    for kind, member in (("images", "ImagesDeleted"), ("build", "CachesDeleted")):
        only = quote(json.dumps({"label": ["pruned.by=stream"]}))
        answer = api.ask("POST", f"/v1.56/{kind}/prune?stream=true&filters={only}")
        assert json.loads(answer.body.splitlines()[-1])["aux"][member] is None
