import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.plan import project as labels
from compose.plan.container_body import container_body
from compose.plan.down import plan_down
from compose.plan.operations import Kind, Operation, Plan
from compose.plan.project import Existing, Observed, Target, config_hash
from compose.plan.selection import select
from compose.plan.up import UpOptions, plan_up
from compose.plan.values import duration_ns
from runtime.errors import SkiffError

MODEL = {
    "name": "shop",
    "services": {
        "web": {
            "image": "web:1",
            "depends_on": {"db": {"condition": "service_healthy", "required": True}},
            "networks": {"default": None},
            "ports": [{"target": 80, "published": "8080", "protocol": "tcp"}],
        },
        "db": {
            "image": "db:1",
            "networks": {"default": None},
            "volumes": [{"type": "volume", "source": "data", "target": "/data"}],
        },
    },
    "networks": {"default": {"name": "shop_default"}},
    "volumes": {"data": {"name": "shop_data"}},
}
TARGET = Target("shop", MODEL, "/shop", ("/shop/compose.yaml",))
IMAGES = {"web:1": "sha256:web", "db:1": "sha256:db"}


def existing(service, number=1, state="running", **changed):
    held = {
        labels.PROJECT: "shop",
        labels.SERVICE: service,
        labels.NUMBER: str(number),
        labels.ONEOFF: "False",
        labels.CONFIG_HASH: config_hash(MODEL["services"][service]),
        labels.IMAGE: IMAGES[MODEL["services"][service]["image"]],
        labels.DEPENDS_ON: "db:service_healthy:false" if service == "web" else "",
        **changed,
    }
    row = {"Id": f"{service}{number}", "Names": [f"/shop-{service}-{number}"], "State": state, "Labels": held}
    return Existing.of(row)


def observed(*containers, networks=("shop_default",), volumes=("shop_data",)):
    return Observed(
        containers,
        {name: {"Id": name, "Labels": {labels.NETWORK: "default"}} for name in networks},
        {name: {"Labels": {labels.VOLUME: "data"}} for name in volumes},
        IMAGES,
    )


def kinds(plan):
    return [(operation.kind, operation.name) for operation in plan.operations if operation.kind is not Kind.AWAIT]


def test_a_first_up_makes_everything_and_starts_dependencies_first():
    plan = plan_up(TARGET, Observed(images=IMAGES), UpOptions())
    done = kinds(plan)
    assert (Kind.CREATE_NETWORK, "shop_default") in done
    assert (Kind.CREATE_VOLUME, "shop_data") in done
    assert done.index((Kind.START, "shop-db-1")) < done.index((Kind.START, "shop-web-1"))
    awaited = [operation for operation in plan.operations if operation.detail.get("condition") == "service_healthy"]
    assert [operation.name for operation in awaited] == ["db"]


def test_nothing_is_done_when_nothing_changed():
    plan = plan_up(TARGET, observed(existing("db"), existing("web")), UpOptions())
    assert plan.operations == ()
    assert set(plan.unchanged) == {"shop-db-1", "shop-web-1"}


def test_only_what_changed_is_recreated():
    plan = plan_up(TARGET, observed(existing("db"), existing("web", **{labels.CONFIG_HASH: "old"})), UpOptions())
    assert kinds(plan) == [(Kind.RECREATE, "shop-web-1"), (Kind.START, "shop-web-1")]
    assert plan.operations[0].reason == "its configuration changed"


def test_a_stopped_container_is_started_again():
    plan = plan_up(TARGET, observed(existing("db"), existing("web", state="exited")), UpOptions())
    assert kinds(plan) == [(Kind.START, "shop-web-1")]


def test_scale_adds_and_removes_the_last_ones():
    three = observed(existing("db"), existing("web"), existing("web", 2), existing("web", 3))
    fewer = plan_up(TARGET, three, UpOptions(scale={"web": 1}))
    assert kinds(fewer) == [(Kind.REMOVE, "shop-web-2"), (Kind.REMOVE, "shop-web-3")]
    more = plan_up(TARGET, observed(existing("db"), existing("web", 2)), UpOptions(scale={"web": 2}))
    assert kinds(more) == [(Kind.CREATE, "shop-web-1"), (Kind.START, "shop-web-1")]


def test_a_missing_image_is_pulled_before_the_container_is_made():
    plan = plan_up(TARGET, Observed(images={"db:1": "sha256:db"}), UpOptions())
    done = kinds(plan)
    assert done.index((Kind.PULL, "web:1")) < done.index((Kind.CREATE, "shop-web-1"))


def test_down_stops_dependants_first_and_keeps_volumes_unless_asked():
    here = observed(existing("db"), existing("web"))
    plan = plan_down(TARGET, here)
    done = kinds(plan)
    assert done.index((Kind.STOP, "shop-web-1")) < done.index((Kind.STOP, "shop-db-1"))
    assert done[-1] == (Kind.REMOVE_NETWORK, "shop_default")
    assert (Kind.REMOVE_VOLUME, "shop_data") in kinds(plan_down(TARGET, here, volumes=True))


def test_an_unknown_service_is_named_with_its_nearest():
    with pytest.raises(SkiffError, match='did you mean "web"'):
        select(TARGET, ["wbe"])


def test_a_circle_is_refused():
    first = Operation("a", Kind.START, "a", "", after=frozenset({"b"}))
    second = Operation("b", Kind.START, "b", "", after=frozenset({"a"}))
    with pytest.raises(ValueError, match="circle"):
        Plan.of([first, second])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30), st.randoms())
def test_a_plan_puts_each_operation_behind_what_it_waits_for(edges, random):
    names = [f"op{number}" for number in range(10)]
    after = {name: set() for name in names}
    for one, other in edges:
        if one < other:
            after[names[other]].add(names[one])
    operations = [Operation(name, Kind.START, name, "", after=frozenset(after[name])) for name in names]
    random.shuffle(operations)
    order = [operation.key for operation in Plan.of(operations).operations]
    assert sorted(order) == sorted(names)
    for name in names:
        assert all(order.index(before) < order.index(name) for before in after[name])


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations_are_read_as_they_are_written(hours, minutes, seconds, milliseconds):
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    assert duration_ns(text) == ((hours * 60 + minutes) * 60 + seconds) * 10**9 + milliseconds * 10**6


def test_the_body_carries_the_labels_of_the_reference():
    body = container_body(TARGET, "web", 2, image_id="sha256:web")
    assert body["Labels"] | {labels.CONFIG_HASH: "x"} == {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": "2",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.config-hash": "x",
        "com.docker.compose.project.config_files": "/shop/compose.yaml",
        "com.docker.compose.project.working_dir": "/shop",
        "com.docker.compose.depends_on": "db:service_healthy:false",
        "com.docker.compose.image": "sha256:web",
        "com.docker.compose.version": "2.40.3",
    }
    assert body["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"shop_default": {"Aliases": ["web"]}}
