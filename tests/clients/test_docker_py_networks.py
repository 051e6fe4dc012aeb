"""Networks and volumes by docker-py."""

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool

pytestmark = pytest.mark.root


def refused(action, status, message):
    with pytest.raises(docker.errors.APIError) as caught:
        action()
    assert (caught.value.status_code, message in caught.value.explanation) == (status, True), caught.value.explanation


def test_a_network_is_made_as_it_is_asked_for(client, network):
    pool = IPAMPool(
        subnet="10.217.0.0/16", iprange="10.217.1.0/24", gateway="10.217.1.254", aux_addresses={"x": "10.217.1.5"}
    )
    options = {"internal": True, "attachable": True, "labels": {"a": "b"}, "check_duplicate": True, "scope": "local"}
    made = network("py-made", driver="bridge", ipam=IPAMConfig(pool_configs=[pool]), **options)
    shown = client.networks.get("py-made", verbose=True, scope="local").attrs
    assert shown["IPAM"]["Config"] == [
        {"Subnet": "10.217.0.0/16", "IPRange": "10.217.1.0/24", "Gateway": "10.217.1.254",
         "AuxiliaryAddresses": {"x": "10.217.1.5"}}
    ]  # fmt: skip
    expected = {
        "Internal": True,
        "Attachable": True,
        "Labels": {"a": "b"},
        "Scope": "local",
        "Ingress": False,
        "Containers": {},
    }
    assert {key: shown[key] for key in expected} == expected
    refused(lambda: client.networks.create("py-made"), 409, "network with name py-made already exists")
    filters = {"driver": "bridge", "label": "a=b", "type": "custom", "scope": "local", "dangling": True}
    assert client.networks.list(names=["py-made"]) == client.networks.list(filters=filters) == [made]
    assert client.networks.list(ids=[made.id[:12]], greedy=True) == [made]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"ingress": True}, 403, "Ingress network can only be global scope network"),
        ({"scope": "swarm"}, 403, "cannot create a swarm scoped network when swarm is not active"),
        ({"driver": "overlay"}, 403, "This node is not a swarm manager."),
        ({"ipam": IPAMConfig(driver="magic")}, 404, 'plugin "magic" not found'),
        ({"ipam": IPAMConfig(pool_configs=[IPAMPool(subnet="nonsense")])}, 400, "invalid subnet nonsense"),
    ],
)
def test_networks_that_cannot_be_are_refused(client, options, status, message):
    refused(lambda: client.networks.create("py-never", **options), status, message)
    assert client.networks.list(names=["py-never"]) == []


def test_a_container_is_connected_with_all_its_settings_and_disconnected(client, network, start):
    container = start(name="py-guest")
    made = network("py-meeting", ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="10.218.0.0/24")]))
    made.connect(
        container, aliases=["alias"], ipv4_address="10.218.0.9", mac_address="02:42:0a:00:00:07",
        link_local_ips=["169.254.8.8"], driver_opt={"a": "b"},
    )  # fmt: skip
    container.reload()
    shown = container.attrs["NetworkSettings"]["Networks"]["py-meeting"]
    expected = {
        "IPAddress": "10.218.0.9", "MacAddress": "02:42:0a:00:00:07", "Aliases": ["alias"], "DriverOpts": {"a": "b"},
        "IPAMConfig": {"IPv4Address": "10.218.0.9", "LinkLocalIPs": ["169.254.8.8"]}, "NetworkID": made.id,
    }  # fmt: skip
    assert {key: shown[key] for key in expected} == expected
    assert b"10.218.0.9" in container.exec_run("cat /etc/hosts").output
    made.reload()
    assert made.containers == [container]
    refused(lambda: made.connect(container), 403, "endpoint with name py-guest already exists in network py-meeting")
    refused(made.remove, 403, "has active endpoints")
    made.disconnect(container)
    assert b"10.218.0.9" not in container.exec_run("cat /etc/hosts").output
    for force in (False, True):
        refused(lambda: made.disconnect(container, force=force), 500, f"{container.id} is not connected to network")  # noqa: B023
    refused(lambda: made.disconnect("nobody", force=True), 404, "endpoint nobody not found")


def test_what_cannot_be_connected_is_reported(client, network, start, create):
    container, alone = start(), create(host={"network_mode": "none"})
    made = network("py-other", ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="10.219.0.0/24")]))
    predefined = {name: client.networks.get(name) for name in ("bridge", "host", "none")}
    cases = [
        (
            predefined["host"],
            container,
            {},
            400,
            "cannot connect container to host network",
        ),
        (predefined["none"], container, {}, 400, "networks in private (none) mode"),
        (made, alone, {}, 400, "networks in private (none) mode"),
        (made, container, {"ipv4_address": "10.1.1.1"}, 400, "no configured subnet contains IP address 10.1.1.1"),
        (
            network("py-chosen"),
            container,
            {"ipv4_address": "10.1.1.1"},
            400,
            "user specified IP address is supported only when connecting to networks with user configured subnets",
        ),
        (made, "nobody", {}, 404, "No such container: nobody"),
    ]
    for where, who, settings, status, message in cases:
        refused(lambda: where.connect(who, **settings), status, message)  # noqa: B023 - called at once
    refused(predefined["bridge"].remove, 403, "bridge is a pre-defined network and cannot be removed")
    refused(lambda: client.networks.get("py-other", scope="swarm"), 404, "network py-other not found")
    refused(lambda: client.networks.list(filters={"type": "round"}), 500, "invalid filter: 'type'='round'")


def test_unused_networks_are_pruned_and_it_is_reported(client, network):
    client.networks.create("py-unused", labels={"prune": "me"})
    assert client.networks.prune(filters={"label": "prune=me"}) == {"NetworksDeleted": ["py-unused"]}
    assert client.networks.prune(filters={"label": "prune=me"}) == {"NetworksDeleted": None}


def test_a_volume_is_made_listed_and_removed(client, create):
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    volume = client.volumes.create("py-volume", driver="local", driver_opts=options, labels={"a": "b"})
    assert (volume.attrs["Options"], volume.attrs["Labels"], volume.attrs["Scope"]) == (options, {"a": "b"}, "local")
    assert client.volumes.create("py-volume").attrs == volume.attrs
    filters = {"name": "py-vol", "label": "a=b", "driver": "local", "dangling": True}
    assert client.volumes.list(filters=filters) == [volume]
    container = create(host={"binds": ["py-volume:/v"]})
    assert client.volumes.list(filters={"name": "py-vol", "dangling": True}) == []
    assert client.containers.list(all=True, filters={"volume": "py-volume"}) == [container]
    refused(lambda: volume.remove(force=True), 409, "volume is in use")
    container.remove()
    volume.remove()
    refused(lambda: client.volumes.get("py-volume"), 404, "no such volume")


def test_it_is_reported_when_a_volume_is_mounted_and_no_more(client, create):
    container = create("true", host={"binds": ["py-told:/v:ro"]})
    events = client.events(since=1, decode=True, filters={"type": "volume", "container": container.id})
    container.start()
    mounted, unmounted = next(events), next(events)
    events.close()
    about = {"container": container.id, "driver": "local"}
    assert (mounted["Action"], mounted["Actor"]["ID"]) == ("mount", "py-told")
    assert mounted["Actor"]["Attributes"] == {**about, "destination": "/v", "propagation": "", "read/write": "false"}
    assert (unmounted["Action"], unmounted["Actor"]["Attributes"]) == ("unmount", about)
    container.remove()
    client.volumes.get("py-told").remove()


def test_anonymous_volumes_alone_are_pruned_unless_all_are_asked_for(client):
    anonymous, named = client.volumes.create(), client.volumes.create("py-named")
    assert anonymous.name in client.volumes.prune()["VolumesDeleted"]
    assert named in client.volumes.list()
    assert "py-named" in client.volumes.prune(filters={"all": True})["VolumesDeleted"]
    assert client.volumes.prune()["VolumesDeleted"] == []
