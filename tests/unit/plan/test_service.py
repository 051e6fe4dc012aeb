"""A service's attributes are read from the loader's document: what it sets, and what stands for nothing."""

import pytest

from compose.plan.parts import Dependency, HealthSettings, Mount, NetworkUse, Port, RestartSettings, Ulimit
from compose.plan.service import Service
from compose.plan.services import Services

SECOND_NS = 10**9


def service(**document):
    return Service("web", document)


def test_an_empty_service_has_neutral_attributes():
    empty = service()
    assert (empty.image, empty.user, empty.network_mode, empty.memory_bytes, empty.nano_cpus) == ("", "", "", 0, 0)
    assert empty.build is empty.provider is empty.healthcheck is empty.command is None
    assert (empty.ports, empty.mounts, empty.networks, empty.dependencies) == ([], [], {}, {})
    assert (empty.replicas, empty.attach, empty.restart_policy) == (1, True, RestartSettings("no", 0))


@pytest.mark.parametrize(
    ("document", "attribute", "value"),
    [
        ({"scale": 3, "deploy": {"replicas": 2}}, "replicas", 3),
        ({"deploy": {"replicas": 0}}, "replicas", 0),
        ({"attach": False}, "attach", False),
        ({"stop_grace_period": "1m30s"}, "stop_grace_period_ns", 90 * SECOND_NS),
        ({"mem_limit": "1024", "deploy": {"resources": {"limits": {"memory": "2048"}}}}, "memory_bytes", 1024),
        ({"deploy": {"resources": {"limits": {"memory": "2048", "cpus": "0.5"}}}}, "memory_bytes", 2048),
        ({"deploy": {"resources": {"limits": {"cpus": "0.5"}}}}, "nano_cpus", SECOND_NS // 2),
        ({"restart": "on-failure:3"}, "restart_policy", RestartSettings("on-failure", 3)),
        ({"restart": "always", "deploy": {"restart_policy": {"condition": "none"}}}, "restart_policy", RestartSettings()),
        ({"ports": [{"target": 80, "published": "8080"}]}, "ports", [Port("80", "8080")]),
        ({"ulimits": {"nproc": 5, "nofile": {"soft": 1, "hard": 2}}}, "ulimits",
         [Ulimit("nproc", 5, 5), Ulimit("nofile", 1, 2)]),
        ({"volumes": [{"type": "volume", "source": "data", "target": "/d"}]}, "mounts", [Mount("volume", "data", "/d")]),
        ({"volumes": [{"type": "volume", "source": "data", "target": "/d"}, {"type": "bind", "source": "/x",
          "target": "/y"}]}, "volume_keys", {"data"}),
        ({"networks": {"front": None}}, "networks", {"front": NetworkUse()}),
        ({"networks": {"front": None}, "network_mode": "host"}, "network_keys", set()),
        ({"depends_on": {"db": {"condition": "service_healthy", "restart": True, "required": False}}}, "dependencies",
         {"db": Dependency("service_healthy", True, False)}),
        ({"healthcheck": {"test": ["CMD", "true"], "interval": "2s", "retries": 3}}, "healthcheck",
         HealthSettings(["CMD", "true"], interval_ns=2 * SECOND_NS, retries=3)),
    ],
)  # fmt: skip
def test_an_attribute_says_what_the_document_does(document, attribute, value):
    assert getattr(service(**document), attribute) == value


def test_a_changed_service_is_another_one_and_its_document_the_truth():
    before = service(environment={"A": "1"}, image="a")
    after = before.with_environment({"B": "2"}).changed(image="b")
    assert (before.environment, before.image) == ({"A": "1"}, "a")
    assert after.document == {"environment": {"A": "1", "B": "2"}, "image": "b"}
    assert after == Service("web", after.document) != before


def test_services_are_made_once_and_only_those_that_are_asked_for():
    services = Services({"web": {"image": "a"}, "db": {}})
    assert services["web"] is services["web"]
    assert (list(services), len(services), "db" in services, "none" in services) == (["web", "db"], 2, True, False)
    with pytest.raises(KeyError):
        services["none"]
