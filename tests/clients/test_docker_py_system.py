"""The engine as a whole by docker-py: what it says of the machine, what happens, and what it has not."""

import itertools
import time

import docker
import pytest
from docker.types import Healthcheck, LogConfig

from runtime.engine.system.machine import LIMITS

pytestmark = pytest.mark.root


@pytest.fixture
def reported(client):
    """Return the events since this moment: as many as are asked for."""
    since = f"{time.time():.9f}"

    def take(count, **filters):
        stream = client.events(since=since, decode=True, filters=filters)
        try:
            return list(itertools.islice(stream, count))
        finally:
            stream.close()

    return take


SWARM = {
    "attrs": lambda client: client.swarm.reload(),
    "update": lambda client: client.api.update_swarm(1, {}),
    "unlock key": lambda client: client.swarm.get_unlock_key(),
    "nodes": lambda client: client.nodes.list(),
    "node": lambda client: client.nodes.get("x"),
    "services": lambda client: client.services.list(),
    "new service": lambda client: client.services.create("busybox"),
    "service": lambda client: client.services.get("x"),
    "no service": lambda client: client.api.remove_service("x"),
    "service logs": lambda client: client.api.service_logs("x", stdout=True, is_tty=False),
    "tasks": lambda client: client.api.tasks(),
    "task": lambda client: client.api.inspect_task("x"),
    "secrets": lambda client: client.secrets.list(),
    "new secret": lambda client: client.secrets.create(name="x", data=b"y"),
    "secret": lambda client: client.secrets.get("x"),
    "no secret": lambda client: client.api.remove_secret("x"),
    "configs": lambda client: client.configs.list(),
    "new config": lambda client: client.configs.create(name="x", data=b"y"),
    "config": lambda client: client.configs.get("x"),
}


@pytest.mark.parametrize("ask", SWARM.values(), ids=SWARM)
def test_what_a_swarm_has_is_refused_as_outside_of_one(client, ask):
    with pytest.raises(
        docker.errors.APIError, match=r'This node is not a swarm manager\. Use "docker swarm init"'
    ) as caught:
        ask(client)
    assert caught.value.status_code == 503


def test_a_swarm_can_be_neither_begun_nor_joined_nor_left(client):
    for ask, message in (
        (client.swarm.init, "swarms are not supported"),
        (lambda: client.swarm.join(["127.0.0.1"], "token"), "swarms are not supported"),
        (client.swarm.leave, "This node is not part of a swarm"),
        (lambda: client.swarm.unlock("key"), "This node is not part of a swarm"),
    ):
        with pytest.raises(docker.errors.APIError, match=message) as caught:
            ask()
        assert caught.value.status_code == 503


def test_there_are_no_plugins(client, tmp_path):
    assert client.plugins.list() == []
    for ask in (
        lambda: client.plugins.get("some/one"),
        lambda: client.api.enable_plugin("some/one"),
        lambda: client.api.disable_plugin("some/one"),
        lambda: client.api.configure_plugin("some/one", {"a": "b"}),
        lambda: client.api.remove_plugin("some/one"),
    ):
        with pytest.raises(docker.errors.NotFound, match='plugin "some/one" not found'):
            ask()
    for ask in (lambda: client.plugins.install("some/one"), lambda: client.plugins.create("some/one", str(tmp_path))):
        with pytest.raises(docker.errors.APIError, match="plugins are not supported") as caught:
            ask()
        assert caught.value.status_code == 501


def test_info_says_of_each_limit_what_the_machine_can(client, create):
    info = client.info()
    warnings = info["Warnings"] or []
    for name, (_, warning) in LIMITS.items():
        is_without_remedy = name == "OomKillDisable" and info["CgroupVersion"] == "2"
        assert info[name] != (f"WARNING: {warning}" in warnings) or is_without_remedy
    asked = {"mem_limit": "32m", "pids_limit": 9, "cpu_shares": 100, "cpu_quota": 5000, "cpuset_cpus": "0"}
    names = ("MemoryLimit", "PidsLimit", "CPUShares", "CpuCfsQuota", "CPUSet")
    # who creates a container is warned of the same
    assert len(create(host=asked).warnings or ()) >= sum(not info[name] for name in names)


def test_info_has_what_clients_look_for(client):
    info = client.info()
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert info["RegistryConfig"]["IndexConfigs"]["docker.io"]["Official"]
    assert set(info["Runtimes"]) >= {info["DefaultRuntime"], "runc"}
    assert info["OSVersion"] != info["OperatingSystem"] != ""
    assert info["Plugins"]["Volume"] == ["local"]
    assert dict(info["DriverStatus"])["Backing Filesystem"] not in ("", "unknown")


def test_prunes_are_reported(client, reported):
    client.containers.prune(filters={"label": "nobody"})
    client.networks.prune(filters={"label": "nobody"})
    client.volumes.prune(filters={"label": "nobody"})
    client.images.prune(filters={"label": "nobody"})
    client.api.prune_builds()
    for kind in ("container", "network", "volume", "image", "builder"):
        assert reported(1, event=["prune"], type=[kind])[0]["Actor"]["Attributes"]["reclaimed"].isdigit()
    assert client.containers.prune(filters={"label": "nobody"})["ContainersDeleted"] is None


def test_what_is_looked_at_is_reported(start, reported):
    container = start(tty=True)
    container.top()
    container.resize(10, 20)
    found = reported(2, container=[container.id], event=["top", "resize"])
    assert [event["Action"] for event in found] == ["top", "resize"]
    assert found[1]["Actor"]["Attributes"].items() >= {"height": "10", "width": "20"}.items()


def test_events_of_images_have_the_first_clients_members(client, reported):
    image = client.images.get("busybox")
    image.tag("py-event", "1")
    client.images.remove("py-event:1")
    events = reported(2, type="image", event=["tag", "untag"])
    assert [event["status"] for event in events] == [event["Action"] for event in events] == ["tag", "untag"]
    assert all(event["id"] == event["Actor"]["ID"] for event in events)
    assert [event["Actor"]["Attributes"]["name"] for event in events] == ["py-event:1", image.id]


def test_images_that_are_saved_loaded_and_imported_are_reported(client, start, reported):
    busybox = client.images.get("busybox")
    client.images.load(b"".join(busybox.save()))
    found = reported(2, image=[busybox.id], event=["save", "load"])
    assert [event["Actor"]["Attributes"]["name"] for event in found] == [busybox.id] * 2
    client.api.import_image_from_data(b"".join(start().export()), repository="py-reported", tag="1")
    found = reported(2, image=[client.images.get("py-reported:1").id])
    assert [event["Action"] for event in found] == ["tag", "import"]
    client.images.remove("py-reported:1")


def test_a_commit_reports_the_pause_and_the_image(start, reported):
    container = start()
    image = container.commit("py-committed", "2")
    found = reported(3, container=[container.id], event=["pause", "commit", "unpause"])
    assert {event["Action"] for event in found} == {"pause", "commit", "unpause"}
    commit = next(event for event in found if event["Action"] == "commit")["Actor"]["Attributes"]
    assert (commit["imageRef"], commit["imageID"]) == ("py-committed:2", image.id)
    assert [event["Action"] for event in reported(2, image=[image.id], type="image")] == ["create", "tag"]
    assert (image.attrs["Parent"], image.attrs["Comment"]) == (container.attrs["Image"], "")
    container.client.images.remove("py-committed:2")


def test_a_forced_removal_reports_the_signal_and_the_end_after_the_volumes(start, reported):
    container = start(host={"binds": ["py-reported-volume:/v"]})
    container.remove(force=True)
    found = reported(2, container=[container.id], event=["kill", "die", "unmount", "destroy"])
    assert found[0]["Action"] == "kill"
    found = reported(3, event=["unmount", "die", "destroy"], container=[container.id])
    assert [event["Action"] for event in found] == ["unmount", "die", "destroy"]


def test_health_probes_are_reported_as_the_execs_that_they_are(start, reported):
    container = start(healthcheck=Healthcheck(test=["CMD", "true"], interval=10**9))
    found = reported(4, container=[container.id], event=["exec_create", "exec_start", "exec_die", "health_status"])
    assert [event["Action"] for event in found] == [
        "exec_create: true ", "exec_start: true ", "exec_die", "health_status: healthy",
    ]  # fmt: skip


def test_a_log_that_is_not_kept_cannot_be_read(create):
    with pytest.raises(docker.errors.APIError, match="configured logging driver does not support reading") as caught:
        create(host={"log_config": LogConfig(type="none")}).logs()
    assert caught.value.status_code == 501


def test_want_of_memory_is_reported_when_the_kernel_reports_it(start, reported):
    # the one that takes it all is killed, the container goes on
    container = start(
        "sh", "-c", "tail /dev/zero; echo $?; sleep 60", host={"mem_limit": "16m", "memswap_limit": "16m"}
    )
    assert reported(1, container=[container.id], event=["oom", "die"])[0]["Action"] == "oom"
    container.reload()
    assert (container.status, container.attrs["State"]["OOMKilled"]) == ("running", True)
    container.kill()
    assert [event["Action"] for event in reported(2, container=[container.id], event=["oom", "die"])] == ["oom", "die"]
