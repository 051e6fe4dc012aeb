import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.plan import project as labels
from compose.plan.container_body import container_body
from compose.plan.down import plan_down
from compose.plan.hashes import service_digest
from compose.plan.inputs import from_label, inputs_of
from compose.plan.operations import Kind, Operation, Plan, RemoveNetwork, Start
from compose.plan.project import EngineState
from compose.plan.selection import select
from compose.plan.summary import changes, surprises
from compose.plan.up import UpOptions, orphans, plan_up
from compose.plan.values import duration_ns
from compose.render.progress import change_line
from runtime.errors import SkiffError
from tests.unit.plan.shop import IMAGES, TARGET, existing, observed, target


def kinds(plan):
    return [(operation.kind, operation.name) for operation in plan.operations if operation.kind is not Kind.AWAIT]


def test_a_first_up_makes_everything_and_starts_dependencies_first():
    plan = plan_up(TARGET, EngineState(images=IMAGES), UpOptions())
    done = kinds(plan)
    assert (Kind.CREATE_NETWORK, "shop_default") in done
    assert (Kind.CREATE_VOLUME, "shop_data") in done
    assert done.index((Kind.START, "shop-db-1")) < done.index((Kind.START, "shop-web-1"))
    awaited = [
        operation for operation in plan.operations if getattr(operation.action, "condition", "") == "service_healthy"
    ]
    assert [operation.name for operation in awaited] == ["db"]


def test_nothing_is_done_when_nothing_changed():
    plan = plan_up(TARGET, observed(existing("db"), existing("web")), UpOptions())
    assert plan.operations == ()
    assert set(plan.unchanged) == {"shop-db-1", "shop-web-1"}


def test_only_what_changed_is_recreated():
    plan = plan_up(TARGET, observed(existing("db"), existing("web", **{labels.CONFIG_HASH: "old"})), UpOptions())
    assert kinds(plan) == [(Kind.RECREATE, "shop-web-1"), (Kind.START, "shop-web-1")]
    assert [op.reason for op in plan.operations if op.kind is Kind.RECREATE] == ["its configuration changed"]


def once(model):
    """The shop, where `db` is a one-shot."""
    model["services"]["web"]["depends_on"]["db"]["condition"] = "service_completed_successfully"
    model["services"]["cache"] = {"image": "db:1", "networks": {"default": None}}
    model["services"]["db"]["depends_on"] = {"cache": {"condition": "service_started"}}


def test_a_one_shot_that_is_done_is_not_run_again_unless_asked_for_or_its_dependency_is_new():
    shop = target(once)
    done = existing("db", state="exited", document={"Status": "Exited (0) 2 days ago"})
    cache = existing("cache", **{labels.CONFIG_HASH: service_digest(shop.services["cache"].document)})
    here = observed(done, cache, existing("web"))
    plan = plan_up(shop, here, UpOptions())
    assert (plan.operations, plan.done) == ((), {"shop-db-1": "db"})
    for options in (UpOptions(rerun=True), UpOptions(services=["db"])):
        assert kinds(plan_up(shop, here, options)) == [(Kind.START, "shop-db-1")]
    failed = existing("db", state="exited", document={"Status": "Exited (1) 2 days ago"})
    assert kinds(plan_up(shop, observed(failed, cache, existing("web")), UpOptions())) == [(Kind.START, "shop-db-1")]
    plan = plan_up(shop, observed(done, existing("web")), UpOptions())
    assert [op.reason for op in plan.operations if op.kind is Kind.RECREATE] == ["cache is new"]


def test_a_one_shot_that_reads_a_folder_of_the_host_runs_each_time(tmp_path):
    def reads(model):
        once(model)
        model["services"]["db"]["volumes"].append({"type": "bind", "source": str(tmp_path), "target": "/src"})

    shop = target(reads)
    made = {labels.CONFIG_HASH: service_digest(shop.services["db"].document)}
    done = existing("db", state="exited", document={"Status": "Exited (0) 2 days ago"}, **made)
    plan = plan_up(shop, observed(done, existing("web")), UpOptions(["web"]))
    assert (Kind.START, "shop-db-1") in kinds(plan)


def test_a_summary_has_a_line_for_each_service_with_the_reason():
    def changed(model):
        model["services"]["web"]["deploy"] = {"replicas": 2}
        model["services"]["db"]["environment"] = {"A": "1"}

    old = existing("db", **{labels.INPUTS: inputs_of(TARGET, "db").label()})
    plan = plan_up(target(changed), observed(old, existing("gone"), networks=()), UpOptions(remove_orphans=True))
    assert [change_line(change) for change in changes(plan)] == [
        "network default: it is missing → create",
        "db: environment.A set to 1 → recreate",
        "web (2 containers): it is missing → create",
        "shop-gone-1: its service is no longer in the project → remove",
    ]
    assert [change.subject for change in surprises(plan)] == ["db", "shop-gone-1"]


def test_a_stopped_container_is_started_again():
    plan = plan_up(TARGET, observed(existing("db"), existing("web", state="exited")), UpOptions())
    assert kinds(plan) == [(Kind.START, "shop-web-1")]


def test_scale_adds_behind_the_last_and_removes_the_last_ones():
    three = observed(existing("db"), existing("web"), existing("web", 2), existing("web", 3))
    fewer = plan_up(TARGET, three, UpOptions(scale={"web": 1}))
    assert kinds(fewer) == [(Kind.REMOVE, "shop-web-2"), (Kind.REMOVE, "shop-web-3")]
    more = plan_up(TARGET, observed(existing("db"), existing("web", 2)), UpOptions(scale={"web": 2}))
    assert kinds(more) == [(Kind.CREATE, "shop-web-3"), (Kind.START, "shop-web-3")]


def test_those_that_changed_go_first_when_fewer_are_wanted():
    old = existing("web", 1, **{labels.CONFIG_HASH: "old"})
    plan = plan_up(TARGET, observed(existing("db"), old, existing("web", 2)), UpOptions(scale={"web": 1}))
    assert kinds(plan) == [(Kind.REMOVE, "shop-web-1")]
    assert "shop-web-2" in plan.unchanged


def test_those_who_want_it_are_stopped_and_started_around_a_recreation():
    def restarts(model):
        model["services"]["web"]["depends_on"]["db"]["restart"] = True

    stale = existing("db", **{labels.CONFIG_HASH: "old"})
    plan = plan_up(target(restarts), observed(stale, existing("web")), UpOptions())
    assert kinds(plan) == [
        (Kind.STOP, "shop-web-1"),
        (Kind.RECREATE, "shop-db-1"),
        (Kind.START, "shop-db-1"),
        (Kind.START, "shop-web-1"),
    ]
    calm = plan_up(TARGET, observed(stale, existing("web")), UpOptions())
    assert (Kind.STOP, "shop-web-1") not in kinds(calm)


def in_order(done, *steps):
    """Whether `steps` are all in `done`, one after the other."""
    return [step for step in done if step in steps] == list(steps)


def test_containers_are_moved_to_a_network_that_is_recreated_and_stay_what_they_are():
    here = observed(existing("db"), existing("web", state="exited"))
    done = kinds(plan_up(TARGET, here, UpOptions(recreate_networks=frozenset({"default"}))))
    network = "shop_default"
    assert in_order(
        done,
        (Kind.STOP, "shop-db-1"),
        (Kind.DISCONNECT, "shop-db-1"),
        (Kind.REMOVE_NETWORK, network),
        (Kind.CREATE_NETWORK, network),
        (Kind.CONNECT, "shop-db-1"),
        (Kind.START, "shop-db-1"),
    )
    assert in_order(done, (Kind.DISCONNECT, "shop-web-1"), (Kind.CONNECT, "shop-web-1"), (Kind.START, "shop-web-1"))
    assert not {kind for kind, _ in done} & {Kind.RECREATE, Kind.CREATE, Kind.REMOVE}


def test_who_is_recreated_for_another_reason_is_so_after_it_was_moved():
    here = observed(existing("db"), existing("web", **{labels.CONFIG_HASH: "old"}))
    done = kinds(plan_up(TARGET, here, UpOptions(recreate_networks=frozenset({"default"}))))
    assert in_order(done, (Kind.CONNECT, "shop-web-1"), (Kind.RECREATE, "shop-web-1"), (Kind.START, "shop-web-1"))


def test_containers_are_moved_to_a_network_that_has_another_name_now():
    renamed = target(lambda model: model["networks"]["default"].update(name="other"))
    own = {labels.PROJECT: "shop", labels.NETWORK: "default", labels.CONFIG_HASH: "x"}
    here = replace(
        observed(existing("db"), existing("web")), networks={"shop_default": {"Id": "shop_default", "Labels": own}}
    )
    plan = plan_up(renamed, here, UpOptions())
    done = kinds(plan)
    assert in_order(
        done,
        (Kind.CREATE_NETWORK, "other"),
        (Kind.DISCONNECT, "shop-db-1"),
        (Kind.CONNECT, "shop-db-1"),
        (Kind.REMOVE_NETWORK, "shop_default"),
        (Kind.START, "shop-db-1"),
    )
    assert not [each for each in plan.operations if each.kind is Kind.RECREATE]
    assert RemoveNetwork("shop_default", must_go=False) in [each.action for each in plan.operations]


def test_a_changed_volume_takes_its_containers_along_and_no_others():
    here = observed(existing("db"), existing("web"))
    done = kinds(plan_up(TARGET, here, UpOptions(recreate_volumes=frozenset({"data"}))))
    order = [
        (Kind.REMOVE, "shop-db-1"),
        (Kind.REMOVE_VOLUME, "shop_data"),
        (Kind.CREATE_VOLUME, "shop_data"),
        (Kind.CREATE, "shop-db-1"),
        (Kind.START, "shop-db-1"),
    ]
    assert [step for step in done if step in order] == order
    assert not any(name == "shop-web-1" for _, name in done)


def test_orphans_are_those_of_gone_services_and_one_offs_that_ended():
    gone = existing("gone")
    ended, running = (
        existing("web", 0, state, **{labels.ONEOFF: "True"}, document={"Names": [f"/run-{state}"], "Id": state})
        for state in ("exited", "running")
    )
    here = observed(existing("db"), existing("web"), gone, ended, running)
    assert [container.name for container in orphans(TARGET, here)] == ["shop-gone-1", "run-exited"]
    off = target(disabled=("gone",))
    assert [container.name for container in orphans(off, here)] == ["run-exited"]
    done = kinds(plan_up(TARGET, here, UpOptions(remove_orphans=True)))
    assert done == [(Kind.REMOVE, "shop-gone-1"), (Kind.REMOVE, "run-exited")]


def test_a_dependency_scaled_to_none_is_not_waited_for():
    plan = plan_up(TARGET, EngineState(images=IMAGES), UpOptions(scale={"db": 0}))
    assert not any(getattr(operation.action, "condition", "") == "service_healthy" for operation in plan.operations)
    assert (Kind.CREATE, "shop-db-1") not in kinds(plan)


def test_down_stops_dependants_first_and_keeps_volumes_unless_asked():
    here = observed(existing("db"), existing("web"))
    plan = plan_down(TARGET, here)
    done = kinds(plan)
    assert done.index((Kind.STOP, "shop-web-1")) < done.index((Kind.STOP, "shop-db-1"))
    assert done[-1] == (Kind.REMOVE_NETWORK, "shop_default")
    assert (Kind.REMOVE_VOLUME, "shop_data") in kinds(plan_down(TARGET, here, volumes=True))


def test_down_takes_only_what_the_files_name_and_without_files_all_of_the_name():
    here = observed(existing("db"), existing("gone"), volumes=("shop_data", "shop_old"), networks=("shop_default",))
    with_files = kinds(plan_down(TARGET, here, volumes=True))
    assert (Kind.REMOVE, "shop-gone-1") not in with_files
    assert (Kind.REMOVE_VOLUME, "shop_old") not in with_files
    by_name = kinds(plan_down(target(lambda model: model.clear()), here, volumes=True, has_files=False))
    assert {(Kind.REMOVE, "shop-gone-1"), (Kind.REMOVE_VOLUME, "shop_old")} <= set(by_name)


def test_down_leaves_one_offs_alone_unless_orphans_go_too():
    one_off = existing("web", 0, **{labels.ONEOFF: "True"}, document={"Names": ["/shop-web-run-1"]})
    here = observed(existing("db"), one_off)
    assert (Kind.REMOVE, "shop-web-run-1") not in kinds(plan_down(TARGET, here))
    assert (Kind.REMOVE, "shop-web-run-1") in kinds(plan_down(TARGET, here, remove_orphans=True))


def test_an_unknown_service_is_named_with_its_nearest():
    with pytest.raises(SkiffError, match='did you mean "web"'):
        select(TARGET, ["wbe"])


def test_a_circle_is_refused():
    first = Operation("a", Start(1), "a", "", after=frozenset({"b"}))
    second = Operation("b", Start(1), "b", "", after=frozenset({"a"}))
    with pytest.raises(ValueError, match="cycle"):
        Plan.of([first, second])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30), st.randoms())
def test_a_plan_puts_each_operation_behind_what_it_waits_for(edges, random):
    names = [f"op{number}" for number in range(10)]
    after = {name: set() for name in names}
    for one, other in edges:
        if one < other:
            after[names[other]].add(names[one])
    operations = [Operation(name, Start(1), name, "", after=frozenset(after[name])) for name in names]
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
    assert from_label(body["Labels"].pop(labels.INPUTS)) == (
        {key: TARGET.services["web"].document[key] for key in ("image", "networks", "ports")},
        {},
    )
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
        "com.docker.compose.version": "5.5.0",
    }
    assert body["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"shop_default": {"Aliases": ["shop-web-2", "web"]}}


WITHOUT_SORTING = """
import sys
from compose.plan.project import EngineState, DesiredProject
from compose.plan.up import UpOptions, plan_up
waits = {"db": {"condition": "service_healthy"}, "cache": {"condition": "service_started"}}
services = {"web": {"image": "web", "depends_on": waits}, "db": {"image": "db"}, "cache": {"image": "cache"}}
networks = {"default": {"name": "shop_default"}}
plan = plan_up(DesiredProject("shop", {"services": services, "networks": networks}), EngineState(), UpOptions())
assert len(plan.operations) > 10
assert "networkx" not in sys.modules
"""


def test_a_plan_of_up_needs_no_sorting():
    subprocess.run([sys.executable, "-c", WITHOUT_SORTING], check=True)
