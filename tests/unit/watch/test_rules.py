"""Which paths a rule of `develop.watch` is about, and what they lead to."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.plan.project import DesiredProject
from compose.watch.patterns import LEFTOVERS, Patterns, below, is_leftover
from compose.watch.rules import Action, WatchRule, WatchRules, extended_services, mounted_paths, rules_of
from compose.watch.work import Work
from runtime.dockerignore import Ignore
from runtime.errors import SkiffError

NAMES = st.sampled_from(["a", "b", "src", "main.py", "lib.py", "node_modules", "x.txt"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PATTERNS = st.lists(
    st.sampled_from(["a", "b/**", "*.py", "**/*.py", "!main.py", "!a/lib.py", "src/*", "**/node_modules", "!**/x.txt"]),
    max_size=4,
)


def rule(path="/here", target="/there", action=Action.SYNC, ignore=(), include=(), **changed):
    """A rule of the service `web`."""
    patterns = tuple(Patterns(path, Ignore.parse("\n".join(each))) if each else None for each in (ignore, include))
    ignored = (patterns[0],) if patterns[0] is not None else ()
    return WatchRule("web", action, path, target, included=patterns[1], ignored=ignored, **changed)


def target(service, **model):
    """A project with the service `web`; its Compose file is /here/compose.yaml."""
    return DesiredProject("shop", {"services": {"web": service}, **model}, "/here", ("/here/compose.yaml",))


def watched(*entries, **service):
    """The rules of a service `web` that watches `entries`."""
    return rules_of(target({**service, "develop": {"watch": list(entries)}}), ["web"], {})


@given(PATHS, PATTERNS, PATTERNS)
def test_a_rule_wants_nothing_outside_of_its_path(path, ignore, include):
    assert not rule("/here/src", ignore=ignore, include=include).wants(f"/here/{path}".replace("/src", "/srcs"))


@given(PATHS, PATTERNS, PATTERNS)
def test_where_nothing_can_be_wanted_nothing_is(path, ignore, include):
    found = rule(ignore=ignore, include=include)
    folder = posixpath.dirname(f"/here/{path}")
    if not found.may_want_below(folder):
        assert not found.wants(f"/here/{path}")
    rules = WatchRules([found])
    assert bool(rules.wanting(f"/here/{path}")) == found.wants(f"/here/{path}")


@given(PATHS, st.sampled_from(["/app", "/app/", "app", "/", "/a/../b", "../.."]))
def test_what_is_below_the_path_goes_to_the_same_place_below_the_target(path, into):
    goal = posixpath.normpath(posixpath.join("/", into))
    found = rule(target=into).container_path(f"/here/{path}")
    assert found == posixpath.join(goal, path)
    assert ".." not in found.split("/")


def test_a_single_file_goes_to_its_target_or_into_it():
    assert rule("/here/app.conf", "/etc/app.conf").container_path("/here/app.conf") == "/etc/app.conf"
    assert rule("/here/app.conf", "/etc/").container_path("/here/app.conf") == "/etc/app.conf"


@given(st.sampled_from(LEFTOVERS).map(lambda name: name.replace("*", "x")), PATHS, PATTERNS)
def test_what_editors_and_git_leave_is_never_wanted(name, path, include):
    assert is_leftover(f"{path}/{name}")
    for each in (f"/here/{name}", f"/here/{path}/{name}", f"/here/{name}/{path}"):
        assert not rule(include=include).wants(each)
    assert rule(f"/here/{name}").wants(f"/here/{name}/x.txt")


def test_ignored_and_included_are_matched_as_dockerignore_patterns_below_the_path():
    found = rule(ignore=["node_modules", "*.log", "!keep.log"])
    wanted = ["/here/a.py", "/here/sub/b.log", "/here/keep.log", "/here/sub/node_modules"]
    assert [each for each in [*wanted, "/here/node_modules/x/y", "/here/a.log"] if found.wants(each)] == wanted
    found = rule(include=["*.py", "static"])
    wanted = ["/here/a.py", "/here/static/deep/x"]
    assert [each for each in [*wanted, "/here/sub/b.py", "/here/x"] if found.wants(each)] == wanted


def test_a_pattern_may_name_its_place_in_full():
    (found,) = watched({"path": "/here/src", "action": "sync", "target": "/t", "ignore": ["/here/src/out"]})
    assert found.wants("/here/src/in")
    assert not found.wants("/here/src/out/x")


def test_the_ignore_file_of_the_build_counts_for_its_context():
    built = {"build": {"context": "/here", "dockerfile": "Dockerfile"}}
    entries = [{"path": each, "action": "sync", "target": "/t"} for each in ("/here/src", "/elsewhere")]
    inside, outside = rules_of(
        target({**built, "develop": {"watch": entries}}), ["web"], {"web": Ignore.parse("*\n!src\nsrc/gen")}
    )
    assert inside.wants("/here/src/x")
    assert not inside.wants("/here/src/gen/x")
    assert outside.wants("/elsewhere/x")


def test_compose_files_and_dockerfiles_are_synced_only_by_a_rule_on_themselves():
    build = {"context": "/here", "dockerfile": "Web.Dockerfile"}
    sync, file = watched(
        {"path": "/here", "action": "sync", "target": "/t"},
        {"path": "/here/compose.yaml", "action": "sync", "target": "/t/compose.yaml"},
        build=build,
    )
    assert not sync.wants("/here/compose.yaml")
    assert not sync.wants("/here/Web.Dockerfile")
    assert sync.wants("/here/sub/compose.yaml")
    assert file.wants("/here/compose.yaml")
    (rebuild,) = watched({"path": "/here", "action": "rebuild"}, build=build)
    assert rebuild.wants("/here/Web.Dockerfile")


def test_what_a_bind_mount_shows_is_not_synced_into_it():
    mount = {"type": "bind", "source": "/here/data", "target": "/t/data"}
    entries = [
        {"path": "/here", "action": "sync", "target": "/t"},
        {"path": "/here/data/sub", "action": "sync", "target": "/t/data/sub"},
        {"path": "/here/data", "action": "restart"},
    ]
    sync, restart = watched(*entries, volumes=[mount])
    assert sync.wants("/here/x")
    assert not sync.wants("/here/data/x")
    assert restart.wants("/here/data/x")
    service = {"develop": {"watch": entries}, "volumes": [mount]}
    assert mounted_paths(target(service), ["web"]) == ["/here/data/sub"]


@pytest.mark.parametrize("name", ["initial_sync", "x-initialSync"])
def test_the_extension_for_an_initial_sync_works_and_is_reported(name):
    entry = {"path": "/here", "action": "sync", "target": "/t", name: True}
    assert watched(entry)[0].has_initial_sync
    told = extended_services(target({"develop": {"watch": [entry]}}), ["web"])
    assert told == (["web"] if name == "x-initialSync" else [])


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({}, "none of the selected services is configured for watch, consider setting a 'develop' section"),
        ({"develop": {"watch": [{"path": "/p", "action": "rebuild"}]}}, "without a build context"),
        ({"develop": {"watch": [{"path": "/p", "action": "sync+exec", "target": "/t"}]}}, "without a command"),
        ({"develop": {"watch": [{"path": "/p", "action": "restart", "ignore": ["[a"]}]}}, "develop.watch: ignore:1: "),
    ],
)
def test_rules_that_can_not_work_are_refused(service, said):
    with pytest.raises(SkiffError, match=said.replace("[", r"\[")) as failure:
        rules_of(target(service), ["web"], {})
    assert failure.value.hint


@given(st.lists(PATHS, min_size=1), st.lists(st.sampled_from(list(Action)), min_size=1))
def test_work_is_all_that_the_rules_of_its_changes_want(paths, actions):
    hooked = [rule(action=each, hook={"command": ["x"]} if each is Action.SYNC_EXEC else {}) for each in actions]
    work = Work()
    assert work.is_empty
    for path in paths:
        for each in hooked:
            work.add(f"/here/{path}", [each])
    heavy = work.take_heavy()
    assert heavy.rebuilds == (Action.REBUILD in actions)
    assert heavy.restarts == (any(each.restarts for each in actions) and not heavy.rebuilds)
    assert len(heavy.hooks) == (Action.SYNC_EXEC in actions)
    synced = work.take_paths()
    wanted = {f"/there/{path}" for path in paths} if any(each.syncs for each in actions) else set()
    assert set(synced) == wanted
    assert all(below("/here", here) == below("/there", there) for there, here in synced.items())
    assert work.is_empty
