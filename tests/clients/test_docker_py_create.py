"""What docker-py asks of containers at their creation: taken, shown, or refused as Docker refuses it."""

from pathlib import Path

import docker
import pytest
from docker.types import DeviceRequest, DriverConfig, Healthcheck, LogConfig, Mount, Ulimit

pytestmark = pytest.mark.root
MB = 1 << 20

SHOWN = [
    ({}, {"Memory": 0, "MemorySwap": 0, "PidsLimit": None, "MemorySwappiness": None, "CapAdd": None, "Binds": None}),
    ({}, {"NetworkMode": "bridge", "IpcMode": "private", "ShmSize": 64 * MB, "LogConfig": {"Type": "json-file", "Config": {}}}),
    ({}, {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "PortBindings": None, "Privileged": False}),
    ({"mem_limit": "32m"}, {"Memory": 32 * MB, "MemorySwap": 64 * MB}),
    ({"mem_limit": "32m", "memswap_limit": -1}, {"MemorySwap": -1}),
    ({"pids_limit": -1}, {"PidsLimit": None}),
    ({"pids_limit": 9}, {"PidsLimit": 9}),
    ({"mem_swappiness": -1}, {"MemorySwappiness": None}),
    ({"network_mode": "default"}, {"NetworkMode": "bridge"}),
    ({"cap_add": ["NET_ADMIN"], "cap_drop": ["CHOWN"]}, {"CapAdd": ["NET_ADMIN"], "CapDrop": ["CHOWN"]}),
    ({"port_bindings": {80: None}}, {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}]}}),
    (
        {"port_bindings": {"80/udp": ("127.0.0.1", 8099)}},
        {"PortBindings": {"80/udp": [{"HostIp": "127.0.0.1", "HostPort": "8099"}]}},
    ),
    ({"restart_policy": {"Name": "on-failure", "MaximumRetryCount": 2}},
     {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}}),
    ({"log_config": LogConfig(type="none")}, {"LogConfig": {"Type": "none", "Config": {}}}),
    ({"ulimits": [Ulimit(name="nofile", soft=9, hard=10)]}, {"Ulimits": [{"Name": "nofile", "Soft": 9, "Hard": 10}]}),
    ({"tmpfs": {"/t": "size=1m"}, "sysctls": {"net.ipv4.ip_forward": "1"}, "init": True},
     {"Tmpfs": {"/t": "size=1m"}, "Sysctls": {"net.ipv4.ip_forward": "1"}, "Init": True}),
    ({"isolation": "default", "lxc_conf": {"a": "b"}, "cpu_count": 1}, {"Isolation": "default", "CpuCount": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "shown"), SHOWN, ids=lambda value: ",".join(value) or "nothing")
def test_a_host_config_is_shown_whole(create, asked, shown):
    found = create(host=asked).attrs["HostConfig"]
    assert {key: found[key] for key in shown} == shown


REFUSED = [
    ({"isolation": "hyperv"}, {}, "invalid isolation 'hyperv' on linux"),
    ({"uts_mode": "host"}, {"hostname": "x"}, "conflicting options: hostname and the UTS mode"),
    ({"devices": ["/dev/null:/dev/null:xyz"]}, {}, "invalid device mode: xyz"),
    ({"device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])]}, {}, "could not select device driver"),
    ({"links": {"nobody": "x"}}, {}, "could not get container for nobody: No such container: nobody"),
    ({"security_opt": ["colour=red"]}, {}, 'invalid --security-opt 2: "colour=red"'),
    ({"volume_driver": "magic", "binds": ["data:/x"]}, {}, 'plugin "magic" not found'),
    ({"mounts": [Mount("/x", "data", driver_config=DriverConfig("magic"))]}, {}, 'plugin "magic" not found'),
    ({"volumes_from": ["nobody"]}, {}, "No such container: nobody"),
    ({"log_config": LogConfig(type="splunk")}, {}, "error looking up logging plugin splunk"),
    ({"cap_add": ["FLY"]}, {}, 'invalid CapAdd: unknown capability: "CAP_FLY"'),
    ({"binds": ["/tmp:/x:colour"]}, {}, "invalid mode: colour"),
    ({"mounts": [Mount("/x", "/no/such/path", type="bind")]}, {}, "bind source path does not exist: /no/such/path"),
    ({"runtime": "magic"}, {}, "unknown or invalid runtime name: magic"),
    ({"storage_opt": {"size": "1G"}}, {}, "--storage-opt is not supported"),
    ({"port_bindings": {80: "x"}}, {}, "invalid host port 'x'"),
    (
        {"restart_policy": {"Name": "always"}, "auto_remove": True},
        {},
        "can't create 'AutoRemove' container with restart",
    ),
    ({}, {"mac_address": "nonsense"}, "invalid MAC address: nonsense"),
    ({}, {"platform": "a/b/c/d"}, '"a/b/c/d" is an invalid OS/architecture/variant'),
    ({}, {"working_dir": "here"}, "the working directory 'here' is invalid, it needs to be an absolute path"),
    ({}, {"healthcheck": {"Test": ["CMD", "x"], "Interval": 5}}, "Interval in Healthcheck cannot be less than 1ms"),
    ({}, {"stop_signal": "SIGNOTHING"}, "invalid signal: SIGNOTHING"),
]


@pytest.mark.parametrize(
    ("host", "options", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_cannot_be_is_refused_at_creation(create, host, options, message):
    with pytest.raises(docker.errors.APIError) as caught:
        create(host=host, **options)
    assert caught.value.status_code == 400
    assert message in caught.value.explanation


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ipv4_address": "172.17.0.9"}, "user specified IP address is supported on user defined networks only"),
        ({"aliases": ["x"]}, "network-scoped alias is supported only for containers in user defined networks"),
        ({"ipv4_address": "nonsense"}, "invalid IPv4 address: nonsense"),
    ],
)
def test_the_default_bridge_has_neither_aliases_nor_addresses_to_choose(client, create, settings, message):
    wanted = client.api.create_networking_config({"bridge": client.api.create_endpoint_config(**settings)})
    with pytest.raises(docker.errors.APIError, match="invalid config for network bridge") as caught:
        create(networking_config=wanted)
    assert (caught.value.status_code, message in caught.value.explanation) == (400, True)


@pytest.mark.parametrize("mode", ["host", "none"])
def test_networks_without_addresses_have_none_to_choose(client, create, mode):
    wanted = client.api.create_networking_config({mode: client.api.create_endpoint_config(ipv4_address="10.1.2.3")})
    message = "user specified IP address is supported on user defined networks only"
    with pytest.raises(docker.errors.APIError, match=message) as caught:
        create(networking_config=wanted, host={"network_mode": mode})
    assert caught.value.status_code == 400


def test_predefined_networks_may_be_named_by_their_ids(client, output, create):
    ids = {name: client.networks.get(name).id for name in ("host", "none")}
    assert output("ls /sys/class/net", host={"network_mode": ids["none"]}) == "lo\n"
    assert create(host={"network_mode": ids["host"]}).attrs["HostConfig"]["NetworkMode"] == "host"
    wanted = client.api.create_networking_config({ids["none"]: None})
    with pytest.raises(docker.errors.APIError, match="cannot be connected to both networks none and bridge"):
        create(networking_config=wanted)


def test_the_configuration_is_shown_whole(create):
    config = create("true", environment={"A": "b"}, volumes=["/v"], healthcheck=Healthcheck(test="true")).attrs[
        "Config"
    ]
    assert config["Env"][0] == "A=b"  # the image's come behind
    assert config["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]
    assert config["Volumes"] == {"/v": {}}
    assert {key: config[key] for key in ("Entrypoint", "OnBuild", "Labels", "WorkingDir", "Domainname", "AttachStdin")} == {
        "Entrypoint": None, "OnBuild": None, "Labels": {}, "WorkingDir": "", "Domainname": "", "AttachStdin": False,
    }  # fmt: skip


def test_a_health_check_is_shown_with_what_was_said_of_it(create):
    check = Healthcheck(test=["CMD", "true"], interval=10**9)
    assert create(healthcheck=check).attrs["Config"]["Healthcheck"] == {"Test": ["CMD", "true"], "Interval": 10**9}


def test_mounts_are_shown_those_of_tmpfs_apart(create):
    mounts = [Mount("/mounted", None, type="tmpfs"), Mount("/data", "shown-data")]
    container = create(host={"mounts": mounts, "tmpfs": {"/apart": "size=1m"}})
    shown = {mount["Destination"]: (mount["Type"], mount["RW"]) for mount in container.attrs["Mounts"]}
    assert shown == {"/mounted": ("tmpfs", True), "/data": ("volume", True)}
    assert container.attrs["HostConfig"]["Tmpfs"] == {"/apart": "size=1m"}
    assert "Source" not in container.attrs["HostConfig"]["Mounts"][0]
    container.remove(v=True)
    container.client.volumes.get("shown-data").remove()


def test_network_settings_have_every_member_running_or_not(create, start):
    empty = create().attrs["NetworkSettings"]
    assert (empty["Ports"], empty["SandboxKey"], empty["IPAddress"], empty["SecondaryIPAddresses"]) == (
        {},
        "",
        "",
        None,
    )
    full = start(host={"port_bindings": {80: ("127.0.0.1", None)}}, ports=[80, 81]).attrs["NetworkSettings"]
    assert full["Networks"]["bridge"]["EndpointID"] == full["EndpointID"] != ""
    assert full["Ports"]["81/tcp"] is None
    assert full["Ports"]["80/tcp"][0]["HostIp"] == "127.0.0.1"


def test_a_container_without_networks_has_its_files_of_names_all_the_same(output):
    script = "ls /sys/class/net /etc/hostname /etc/hosts /etc/resolv.conf"
    for options in ({"host": {"network_mode": "none"}}, {"network_disabled": True}):
        assert output(script, **options).split() == [*script.split()[2:], "/sys/class/net:", "lo"]


def test_a_domain_name_makes_the_host_name_whole(output):
    assert output("hostname; hostname -f", hostname="web", domainname="example.org") == "web\nweb.example.org\n"


def test_the_host_network_has_the_hosts_names(output):
    own = Path("/etc/hosts")
    names = own.read_text() if own.exists() else ""
    assert output("cat /etc/hosts", host={"network_mode": "host"}).startswith(names)
