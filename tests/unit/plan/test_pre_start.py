"""Hooks that run before a service starts: when, and in what containers."""

import pytest

from compose.plan import project as labels
from compose.plan.hashes import service_digest
from compose.plan.images import plan_images
from compose.plan.operations import Create, PreStart, Pull, Start
from compose.plan.pre_start import hook_body
from compose.plan.refusals import check_services
from compose.plan.up import UpOptions, plan_up
from runtime.errors import SkiffError
from tests.unit.plan.shop import IMAGES, existing, observed, target


def hooked(model):
    model["services"]["web"] |= {
        "command": ["serve"],
        "entrypoint": ["/init"],
        "user": "app",
        "environment": {"A": "service", "B": "service"},
        "pre_start": [
            {"command": ["migrate"], "environment": {"B": "hook"}},
            {"command": ["fix"], "image": "tool:1", "user": "root", "privileged": True, "working_dir": "/w"},
        ],
    }


SHOP = target(hooked)
AS_IT_IS = {labels.CONFIG_HASH: service_digest(SHOP.services["web"].document)}


def steps(here, project=SHOP, **options):
    """What is done for the service web, in order."""
    plan = plan_up(project, here, UpOptions(**options))
    return [
        each.action for each in plan.operations if each.service == "web" and isinstance(each.action, PreStart | Start)
    ]


def test_hooks_run_once_before_the_first_container_of_a_service_that_does_not_run():
    project = target(lambda model: (hooked(model), model["services"]["web"].update(scale=2)))
    assert steps(observed(), project) == [PreStart(1), Start(1), Start(2)]
    plan = plan_up(project, observed(), UpOptions())
    by_action = {each.action: each for each in plan.operations if each.service == "web"}
    assert f"create web {Create(1).number}" in by_action[PreStart(1)].after
    assert "await web db" in by_action[PreStart(1)].after
    for start in (Start(1), Start(2)):
        assert "pre_start web" in by_action[start].after


def test_hooks_do_not_run_again_next_to_a_container_that_runs_on():
    running = existing("web", **AS_IT_IS)
    assert steps(observed(existing("db"), running)) == []
    assert steps(observed(existing("db"), running), scale={"web": 2}) == [Start(2)]


def test_hooks_run_again_for_another_specification_and_for_who_was_stopped():
    assert steps(observed(existing("db"), existing("web"))) == [PreStart(1), Start(1)]
    stopped = existing("web", state="exited", **AS_IT_IS)
    assert steps(observed(existing("db"), stopped)) == [PreStart(1), Start(1)]


def test_their_images_are_pulled_with_the_others_each_once():
    plan = plan_images(SHOP, observed(images={}), ["web", "db"])
    assert [each.name for each in plan.operations if isinstance(each.action, Pull)] == ["web:1", "db:1", "tool:1"]
    assert plan_images(SHOP, observed(images={**IMAGES, "tool:1": "sha256:tool"}), ["web"]).operations == ()


def test_a_hooks_container_is_the_services_where_the_hook_says_nothing_else():
    own = hook_body(SHOP, "web", 0, "web1", image_id="sha256:web", container_of={})
    assert (own["Image"], own["Entrypoint"], own["Cmd"], own["User"]) == ("web:1", ["/init"], ["migrate"], "app")
    assert sorted(own["Env"]) == ["A=service", "B=hook"]
    assert own["HostConfig"]["VolumesFrom"] == ["web1"]
    assert "PortBindings" not in own["HostConfig"]
    assert own["NetworkingConfig"]["EndpointsConfig"] == {"shop_default": {}}
    assert own["Labels"] == {
        labels.PROJECT: "shop",
        labels.SERVICE: "web",
        labels.VERSION: labels.COMPOSE_VERSION,
        labels.HOOK: "pre_start",
        labels.HOOK_INDEX: "0",
    }
    other = hook_body(SHOP, "web", 1, "web1", image_id="sha256:tool", container_of={})
    assert (other["Image"], other.get("Entrypoint"), other["Cmd"]) == ("tool:1", None, ["fix"])
    assert (other["User"], other["WorkingDir"], other["HostConfig"]["Privileged"]) == ("root", "/w", True)


def test_hooks_for_each_replica_are_refused():
    each = target(lambda model: model["services"]["web"].update(pre_start=[{"command": ["x"], "per_replica": True}]))
    with pytest.raises(SkiffError, match="per_replica is not yet supported"):
        check_services(each, ["web"], is_ours=True)
