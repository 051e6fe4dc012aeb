import pytest

from compose.plan.images import missing_bases, plan_builds, plan_images, plan_pulls, refresh_s
from compose.plan.operations import Kind
from compose.plan.platforms import with_default_platform
from runtime.errors import SkiffError
from tests.unit.plan.shop import TARGET, observed, target

NONE = observed(images={})
NAMES = ["web", "db"]


def with_service(**settings):
    return target(lambda model: model["services"]["web"].update(settings))


def kinds(plan):
    return [(operation.kind, operation.name) for operation in plan.operations]


def test_what_is_missing_is_pulled_and_what_is_here_is_not():
    assert kinds(plan_images(TARGET, NONE, NAMES)) == [(Kind.PULL, "web:1"), (Kind.PULL, "db:1")]
    assert kinds(plan_images(TARGET, observed(), NAMES)) == []


def test_a_flag_overrides_the_pull_policy_of_the_file():
    assert kinds(plan_images(with_service(pull_policy="always"), observed(), NAMES)) == [(Kind.PULL, "web:1")]
    assert kinds(plan_images(with_service(pull_policy="always"), observed(), NAMES, pull="missing")) == []
    assert kinds(plan_images(TARGET, observed(), ["web"], pull="always")) == [(Kind.PULL, "web:1")]


def test_an_image_that_may_not_be_pulled_and_is_not_here_is_refused():
    with pytest.raises(SkiffError, match="no such image: web:1, and its pull policy is never"):
        plan_images(with_service(pull_policy="never"), NONE, ["web"])


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [("daily", 86400), ("weekly", 604800), ("every_2h", 7200), ("every_1w2d", 9 * 86400), ("missing", None)],
)
def test_time_based_policies_are_durations(policy, seconds):
    assert refresh_s(policy) == seconds


def test_an_image_is_pulled_again_when_its_time_is_over():
    daily = with_service(pull_policy="daily")
    fresh, old = observed(tagged_s={"web:1": 1000.0}), observed(tagged_s={"web:1": -90000.0})
    assert kinds(plan_images(daily, fresh, ["web"], now_s=2000.0)) == []
    assert kinds(plan_images(daily, old, ["web"], now_s=2000.0)) == [(Kind.PULL, "web:1")]


def test_a_service_with_a_build_is_built_when_missing_when_asked_and_by_policy():
    built = with_service(build={"context": "."})
    tried_first = [(Kind.PULL, "web:1"), (Kind.BUILD, "web:1")]
    assert kinds(plan_images(built, NONE, ["web"])) == tried_first
    assert kinds(plan_images(with_service(build={"context": "."}, image=None), NONE, ["web"])) == [
        (Kind.BUILD, "shop-web")
    ]
    assert kinds(plan_images(built, observed(), ["web"])) == []
    assert kinds(plan_images(built, observed(), ["web"], build=True)) == [(Kind.BUILD, "web:1")]
    always = with_service(build={"context": "."}, pull_policy="build")
    assert kinds(plan_images(always, observed(), ["web"])) == [(Kind.BUILD, "web:1")]
    assert kinds(plan_images(always, observed(), ["web"], no_build=True)) == []


def test_what_may_not_be_built_and_is_not_here_is_refused():
    with pytest.raises(SkiffError, match="--no-build forbids"):
        plan_images(with_service(build={"context": "."}), NONE, ["web"], no_build=True)


def test_a_build_waits_for_the_images_that_it_starts_from():
    def both_built(model):
        model["services"]["web"]["build"] = {"context": ".", "additional_contexts": {"base": "service:db"}}
        model["services"]["db"]["build"] = {"context": "."}

    assert kinds(plan_builds(target(both_built), ["web"])) == [(Kind.BUILD, "db:1"), (Kind.BUILD, "web:1")]
    assert kinds(plan_images(target(both_built), NONE, ["web"], build=True)) == kinds(
        plan_builds(target(both_built), ["web"])
    )
    plan = plan_images(target(both_built), NONE, ["web"])
    assert [name for kind, name in kinds(plan) if kind is Kind.BUILD] == ["db:1", "web:1"]


def test_an_image_that_another_service_builds_is_built_and_not_pulled():
    def one_builds(model):
        model["services"]["db"] |= {"image": "web:1", "build": {"context": "."}, "pull_policy": "build"}

    plan = plan_images(target(one_builds), NONE, ["web"])
    assert [(each.kind, each.name, each.service) for each in plan.operations] == [(Kind.BUILD, "web:1", "db")]


def test_a_service_that_was_left_out_is_known_when_it_builds_the_image():
    left_out = target(lambda model: model["services"].pop("db"), builders={"web:1": "builder"})
    assert missing_bases(left_out, "web") == {"builder"}


def test_the_default_platform_is_for_what_is_built_and_names_none():
    def both(model):
        model["services"]["web"]["build"] = {"context": "."}

    chosen = with_default_platform(target(both), {"DOCKER_DEFAULT_PLATFORM": "linux/arm64"})
    assert (chosen.services["web"].platform, chosen.services["db"].platform) == ("linux/arm64", "")

    def elsewhere(model):
        model["services"]["web"]["build"] = {"context": ".", "platforms": ["linux/amd64"]}

    with pytest.raises(SkiffError, match="does not support value set by DOCKER_DEFAULT_PLATFORM"):
        with_default_platform(target(elsewhere), {"DOCKER_DEFAULT_PLATFORM": "linux/arm64"})


def test_pull_passes_over_what_is_not_to_be_pulled():
    plan, skipped = plan_pulls(with_service(pull_policy="never"), observed(), NAMES)
    assert kinds(plan) == [(Kind.PULL, "db:1")]
    assert list(skipped) == ["web:1"]
    plan, skipped = plan_pulls(TARGET, observed(images={"db:1": "sha256:db"}), NAMES, policy="missing")
    assert kinds(plan) == [(Kind.PULL, "web:1")]
    assert skipped == {"db:1": "Image is already present locally"}
    own = with_service(pull_policy="missing")
    assert plan_pulls(own, observed(), ["web"])[1] == {"web:1": "Image is already present locally"}
