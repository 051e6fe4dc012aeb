from dataclasses import replace

import pytest

from compose.plan import project as labels
from compose.plan.changes import why_recreate
from compose.plan.hashes import network_digest, service_digest
from compose.plan.inputs import inputs_of
from compose.plan.project import EngineState
from compose.plan.refusals import check_ports, check_services
from compose.plan.resources import ChangedResources, check_resources, diverged, network_body, volume_body
from compose.stack.digests import resolved
from runtime.errors import SkiffError
from tests.unit.plan.shop import MODEL, TARGET, existing, observed, target


def why(container, here=None, project=TARGET, **how):
    return why_recreate(
        project,
        here or observed(),
        container.service,
        container,
        **{"recreated": set(), **how},
    )


def test_a_container_as_the_project_wants_it_stays():
    assert why(existing("web")) is None
    assert why(existing("db")) is None


def test_each_change_is_a_reason():
    assert why(existing("web", **{labels.CONFIG_HASH: "old"})) == "its configuration changed"
    assert why(existing("web", **{labels.IMAGE: "sha256:old"})) == "the image web:1 changed"
    assert why(existing("db", document={"Mounts": []})) == "it does not mount the volume data"
    elsewhere = {"NetworkSettings": {"Networks": {"shop_default": {"NetworkID": "another"}}}}
    assert why(existing("web", document=elsewhere)) == "it is not connected to the network default"
    assert why(existing("web"), observed(networks=())) == "it is not connected to the network default"
    assert why(existing("web", document=elsewhere), moved={"default"}) is None
    assert why(existing("db"), lost_volumes={"data"}) == "a volume of it changed"


def shares(model):
    model["services"]["web"]["network_mode"] = "service:db"


SHARING = target(shares)
WITH_DB = service_digest({**SHARING.services["web"].document, "network_mode": "container:db1"})


def test_what_shares_a_namespace_goes_with_its_owner():
    here = existing("web", **{labels.CONFIG_HASH: WITH_DB})
    assert why(here, observed(existing("db")), SHARING) is None
    recreated = "it shares network_mode with db, which is recreated"
    assert why(here, observed(existing("db")), SHARING, recreated={"db"}) == recreated


@pytest.mark.parametrize("others", [(), (existing("db", 2),)], ids=["gone", "replaced"])
def test_what_shares_a_namespace_of_a_container_that_is_gone_is_recreated(others):
    here = existing("web", **{labels.CONFIG_HASH: WITH_DB})
    assert why(here, observed(*others), SHARING) == "its configuration changed"


@pytest.mark.parametrize(("mode", "stays"), [("container:db1", True), ("container:gone", False)])
def test_a_container_whose_hash_has_the_name_of_the_service_says_itself_whose_namespace_it_is(mode, stays):
    by_name = {labels.CONFIG_HASH: service_digest(SHARING.services["web"].document)}
    here = existing("web", document={"HostConfig": {"NetworkMode": mode}}, **by_name)
    assert (why(here, observed(existing("db")), SHARING) is None) == stays


def labelled(project, name="web"):
    """The labels of a container that was made of `project` as it is now."""
    return {
        labels.CONFIG_HASH: service_digest(project.services[name].document),
        labels.INPUTS: inputs_of(project, name).label(),
    }


def test_contents_count_where_the_container_says_what_they_were(tmp_path):
    (tmp_path / "nginx.conf").write_text("one")
    (tmp_path / "data").write_bytes(b"\0one")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "app.log").write_text("one")

    def has_files(content):
        def change(model):
            model["configs"] = {"motd": {"content": content}}
            model["services"]["web"]["configs"] = [{"source": "motd"}]
            model["services"]["web"]["volumes"] = [
                {"type": "bind", "source": str(tmp_path / name), "target": f"/{name}"}
                for name in ("nginx.conf", "data", "empty", "app.log")
            ]

        return replace(target(change), working_directory=str(tmp_path))

    project = has_files("old")
    made = labelled(project)
    assert why(existing("web", **{**made, labels.INPUTS: ""}), project=project) is None  # docker compose made it
    assert why(existing("web", **made), project=project) is None
    for name in ("data", "empty", "app.log"):  # what a container may have written itself
        (tmp_path / name).write_bytes(b"\0two")
    assert why(existing("web", **made), project=project) is None
    assert why(existing("web", **made), project=has_files("new")) == "configs.motd changed"
    (tmp_path / "other").write_text("two")
    (tmp_path / "other").rename(tmp_path / "nginx.conf")
    assert why(existing("web", **made), project=project) == "./nginx.conf changed"
    (tmp_path / "other").write_text("two")
    (tmp_path / "other").rename(tmp_path / "data")
    assert why(existing("web", **made), project=project) == "./nginx.conf changed, ./data changed"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"environment": {"LOG_LEVEL": "debug"}}, "environment.LOG_LEVEL info → debug"),
        ({"environment": {"LOG_LEVEL": "info", "N": "1"}}, "environment.N set to 1"),
        ({"environment": None}, "environment.LOG_LEVEL removed"),
        ({"environment": {"LOG_LEVEL": None}}, "environment.LOG_LEVEL removed"),
        ({"environment": {"LOG_LEVEL": "info", "DB_PASSWORD": "x"}}, "environment.DB_PASSWORD changed"),
        ({"ports": [{"target": 80, "published": "81"}]}, "ports 8080:80 → 81:80"),
        ({"ports": []}, "ports 8080:80 removed"),
        ({"command": ["serve", "a b"]}, "command the image's → serve 'a b'"),
        ({"init": True}, "init set to true"),
        ({"image": "web:2"}, "image web:1 → web:2"),
        ({"healthcheck": {"test": ["CMD", "true"], "retries": 2}}, "healthcheck added"),
        (
            {"volumes": [{"type": "bind", "source": "/shop/conf", "target": "/c", "read_only": True}]},
            "volumes ./conf:/c:ro added",
        ),
        (
            {"environment": {"A": "1", "B": "2", "C": "3", "LOG_LEVEL": "a" * 99}},
            f"environment.LOG_LEVEL info → {'a' * 39}…, environment.A set to 1, environment.B set to 2 and 1 more",
        ),
    ],
)
def test_settings_that_changed_are_named_in_the_words_of_the_file(changed, reason):
    before = target(lambda model: model["services"]["web"].update(environment={"LOG_LEVEL": "info"}))
    now = target(lambda model: model["services"]["web"].update({"environment": {"LOG_LEVEL": "info"}} | changed))
    assert why(existing("web", **labelled(before)), project=now) == reason


def test_a_label_that_nobody_can_read_counts_for_nothing():
    changed = {labels.CONFIG_HASH: "old", labels.INPUTS: "nonsense"}
    assert why(existing("web", **changed)) == "its configuration changed"


def test_a_network_or_volume_made_with_other_settings_is_noticed_and_one_without_a_hash_is_not():
    made = EngineState(
        networks={"shop_default": network_body(TARGET, "default")}, volumes={"shop_data": volume_body(TARGET, "data")}
    )
    assert diverged(TARGET, made) == ChangedResources()

    def changed(model):
        model["networks"]["default"]["internal"] = True
        model["volumes"]["data"]["driver_opts"] = {"type": "tmpfs"}

    assert diverged(target(changed), made) == ChangedResources(frozenset({"default"}), frozenset({"data"}))
    assert diverged(target(changed), observed()) == ChangedResources()


@pytest.mark.parametrize(
    ("section", "key", "message"),
    [
        ("networks", "default", "network outside declared as external, but could not be found"),
        ("volumes", "data", 'external volume "outside" not found'),
    ],
)
def test_what_others_should_have_made_is_missed_in_the_words_of_the_reference(section, key, message):
    def external(model):
        model[section][key] = {"name": "outside", "external": True}

    with pytest.raises(SkiffError, match=message):
        list(check_resources(target(external), observed()))


def test_what_others_made_is_used_with_a_warning():
    foreign = EngineState(
        networks={"shop_default": {"Id": "n", "Labels": {}}},
        volumes={"shop_data": {"Labels": {labels.PROJECT: "other", labels.VOLUME: "data"}}},
    )
    warnings = list(check_resources(TARGET, foreign))
    assert "was not created by compose" in warnings[0]
    assert "was created for project 'other'" in warnings[1]


def test_a_network_made_for_another_key_is_refused():
    wrong = EngineState(networks={"shop_default": {"Labels": {labels.PROJECT: "shop", labels.NETWORK: "front"}}})
    with pytest.raises(SkiffError, match="was found but has incorrect label"):
        list(check_resources(TARGET, wrong))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpus": [{"count": -1}]}, "asks for devices like GPUs"),
        ({"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"]}]}}}}, "like GPUs"),
    ],
)
def test_services_that_cannot_be_run_are_refused_by_name(settings, message):
    project = target(lambda model: model["services"]["web"].update(settings))
    with pytest.raises(SkiffError, match=message):
        check_services(project, ["web"], is_ours=True)
    check_services(project, ["db"], is_ours=True)


def test_gpus_are_another_engines_own_affair():
    project = target(lambda model: model["services"]["web"].update(gpus=[{"count": 1}]))
    check_services(project, ["web"], is_ours=False)


def test_two_services_cannot_have_one_container_name():
    project = target(lambda model: [service.update(container_name="same") for service in model["services"].values()])
    with pytest.raises(SkiffError, match='both want the container name "same"'):
        check_services(project, ["web", "db"], is_ours=True)


@pytest.mark.parametrize(
    ("own", "other", "is_refused"),
    [
        ({"published": "80"}, {"published": "80"}, True),
        ({"published": "80", "host_ip": "127.0.0.1"}, {"published": "80"}, True),
        ({"published": "80", "host_ip": "127.0.0.1"}, {"published": "80", "host_ip": "127.0.0.2"}, False),
        ({"published": "80", "host_ip": "0.0.0.0"}, {"published": "80", "host_ip": "::"}, False),
        ({"published": "80", "protocol": "udp"}, {"published": "80"}, False),
        ({"published": "80"}, {"published": "81"}, False),
        ({}, {}, False),
    ],
)
def test_two_services_with_one_port_are_both_named(own, other, is_refused):
    def publish(model):
        model["services"]["web"]["ports"] = [{"target": 80, **own}]
        model["services"]["db"]["ports"] = [{"target": 81, **other}]

    if not is_refused:
        check_ports(target(publish), ["web", "db"], {})
        return
    with pytest.raises(SkiffError, match='services "web" and "db" both publish port 80/tcp'):
        check_ports(target(publish), ["web", "db"], {})


def test_several_containers_of_a_service_cannot_have_one_port():
    with pytest.raises(SkiffError, match='the 2 containers of service "web"') as refused:
        check_ports(TARGET, ["web"], {"web": 2})
    assert 'ports: ["80"]' in refused.value.hint


def test_a_network_carries_the_labels_of_the_reference():
    assert network_body(TARGET, "default")["Labels"] == {
        "com.docker.compose.project": "shop",
        "com.docker.compose.network": "default",
        "com.docker.compose.version": "5.5.0",
        "com.docker.compose.config-hash": network_digest(MODEL["networks"]["default"]),
    }
    assert volume_body(TARGET, "data")["Labels"]["com.docker.compose.volume"] == "data"


def test_a_container_that_mounts_an_image_is_recreated_when_that_is_another():
    mounting = target(
        lambda model: model["services"]["web"].update(volumes=[{"type": "image", "source": "data:1", "target": "/d"}])
    )
    made = {labels.CONFIG_HASH: service_digest(mounting.services["web"].document)}
    here = observed(images={"web:1": "sha256:web", "data:1": "sha256:new"})
    labelled = {**made, labels.MOUNTED_IMAGES: "data:1@sha256:new"}
    assert why(existing("web", **made), here, mounting) is None  # docker compose made it
    assert why(existing("web", **labelled), here, mounting) is None
    old = {**made, labels.MOUNTED_IMAGES: "data:1@sha256:old"}
    assert why(existing("web", **old), here, mounting) == "an image that it mounts changed"


def test_an_image_that_is_mounted_is_pinned_with_the_others():
    model = {"services": {"web": {"volumes": [{"type": "image", "source": "data", "target": "/d"}, {"type": "tmpfs"}]}}}
    pinned = resolved(model, lambda name: f"sha256:{len(name)}")
    assert pinned["services"]["web"]["volumes"] == [
        {"type": "image", "source": "docker.io/library/data:latest@sha256:29", "target": "/d"},
        {"type": "tmpfs"},
    ]
