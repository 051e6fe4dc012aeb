"""What a load reports of wrong files: everything at once, each with its place, what was expected, the nearest name."""

import copy
import json

from hypothesis import given
from hypothesis import strategies as st

from compose.errors import ConfigError, ConfigErrors
from compose.loading import LoadOptions, load


def project(folder, environ=None, /, **options):
    return load(LoadOptions(str(folder), **options), environ or {})


def problems(folder, environ=None, /, **options):
    """Return what a load reports; anything but a ConfigError fails the test."""
    try:
        project(folder, environ, **options)
    except ConfigErrors as error:
        return error.errors
    except ConfigError as error:
        return (error,)
    return ()


def reported(folder, environ=None, /, **options):
    found = [str(error) for error in problems(folder, environ, **options)]
    assert found
    return found


def test_all_problems_of_a_file_are_reported_in_the_order_of_its_lines(tmp_path):
    (tmp_path / "compose.yaml").write_text(
        """\
name: demo
services:
  web:
    image: "a:${TAG:?set it}"
    comand: x
    privileged: 3
    networks: [frnt]
    secrets: [token]
    env_file: [missing.env, bad.env]
    depends_on: [databse]
    ports: ["x:80", "80:80"]
  database:
    extends: {file: nofile.yaml, service: x}
    volumes: ["data:/x"]
    mem_limit: 5zz
  third: {extends: databas}
  self: {extends: self, image: c}
networks: {front: {}}
"""
    )
    (tmp_path / "bad.env").write_text("A=1\nB C=2\n")
    found = reported(tmp_path)
    assert [each.split("\n")[0] for each in found] == [
        "compose.yaml:4:12: services.web.image: required variable TAG is missing a value: set it",
        "compose.yaml:5:5: services.web.comand: is not known here",
        "compose.yaml:6:5: services.web.privileged: must be true or false or a string, not the number 3",
        'compose.yaml:7:16: services.web.networks.frnt: refers to the network "frnt", which no file defines',
        'compose.yaml:8:15: services.web.secrets[0]: refers to the secret "token", which no file defines',
        "compose.yaml:9:16: services.web.env_file[0]: env file missing.env not found",
        'compose.yaml:10:18: services.web.depends_on.databse: depends on "databse", which no file defines',
        'compose.yaml:11:13: services.web.ports[0]: "x:80" is not a port: write it as 80, 8080:80 or 127.0.0.1:8080:80/udp',
        "compose.yaml:13:21: services.database.extends.file: can't open nofile.yaml: No such file or directory",
        'compose.yaml:14:15: services.database.volumes[0]: refers to the volume "data", which no file defines',
        'compose.yaml:15:5: services.database.mem_limit: "5zz" is not a size: write it as 512m, 1.5g or a number of bytes',
        'compose.yaml:16:20: services.third.extends: service "databas", which it extends, is not in compose.yaml',
        'compose.yaml:17:19: services.self.extends: service "self" extends itself',
        'bad.env:2:1: the name "B C" contains a space',
    ]
    hints = "\n".join(found)
    for name in ("command", "front", "database"):
        assert f'did you mean "{name}"?' in hints


def test_a_name_that_can_not_be_made_does_not_hide_what_else_is_wrong(tmp_path):
    (tmp_path / "compose.yaml").write_text("name: ${NAME:?set it}\nservices: {web: {imag: a}}\n")
    assert [each.split("\n")[0] for each in reported(tmp_path)] == [
        "compose.yaml:1:7: name: required variable NAME is missing a value: set it",
        "compose.yaml:2:18: services.web.imag: is not known here",
    ]


def test_an_unknown_section_hides_what_it_would_have_defined(tmp_path):
    (tmp_path / "compose.yaml").write_text("services: {web: {image: a, networks: [n]}}\nnetwork: {n: {}}\n")
    assert reported(tmp_path) == ['compose.yaml:2:1: network: is not known here\n    did you mean "networks"?']


def test_what_follows_from_a_problem_is_not_reported_again(tmp_path):
    (tmp_path / "compose.yaml").write_text(
        "services:\n  web: {imag: a}\n  odd: 5\n  uses: {image: a, depends_on: [odd, web]}\n"
    )
    assert [each.split(": ", 1)[0] for each in reported(tmp_path)] == ["compose.yaml:2:9", "compose.yaml:3:3"]


def test_a_problem_of_a_merged_list_has_the_place_in_its_own_file(tmp_path):
    (tmp_path / "a.yaml").write_text("services: {web: {image: a, ports: ['1:1', '2:2']}}\n")
    (tmp_path / "b.yaml").write_text("services:\n  web:\n    ports:\n      - '3:3'\n      - nope\n")
    (found,) = reported(tmp_path, files=("a.yaml", "b.yaml"))
    assert found.startswith("b.yaml:5:9: services.web.ports[3]: ")


def test_a_problem_of_an_extended_service_has_the_place_in_the_extended_file(tmp_path):
    (tmp_path / "compose.yaml").write_text("services: {web: {extends: {file: base.yaml, service: base}}}\n")
    (tmp_path / "base.yaml").write_text(
        "services:\n  base:\n    image: a\n    mem_limit: lots\n    volumes: [data:/x]\n"
    )
    first, second = reported(tmp_path)
    assert first.startswith("base.yaml:4:5: services.web.mem_limit: ")
    assert second.startswith("base.yaml:5:15: services.web.volumes[0]: ")


def test_a_missing_extended_service_is_reported_with_the_nearest(tmp_path):
    (tmp_path / "compose.yaml").write_text("services:\n  web:\n    extends:\n      file: b.yaml\n      service: bse\n")
    (tmp_path / "b.yaml").write_text("services: {base: {image: a}}")
    (found,) = reported(tmp_path)
    assert found == (
        'compose.yaml:5:16: services.web.extends: service "bse", which it extends, is not in b.yaml\n'
        '    did you mean "base"?'
    )


def test_a_chain_of_extends_that_closes_is_shown_with_the_place_of_each(tmp_path):
    (tmp_path / "compose.yaml").write_text(
        "services:\n  start: {image: x, extends: a}\n  a: {extends: {file: b.yaml, service: b}}\n"
    )
    (tmp_path / "b.yaml").write_text("services:\n  b:\n    extends:\n      file: compose.yaml\n      service: a\n")
    (found,) = reported(tmp_path)
    assert found.splitlines() == [
        'compose.yaml:3:40: services.a.extends: service "a" extends itself',
        "    compose.yaml:3:40: a extends b",
        "    b.yaml:5:16: b extends a",
    ]


def test_problems_of_included_files_are_reported_with_those_of_the_file(tmp_path):
    (tmp_path / "compose.yaml").write_text(
        "include:\n  - sub.yaml\n  - nofile.yaml\n  - path: sub.yaml\n    env_file: no.env\nservices: {w: {imag: a}}\n"
    )
    (tmp_path / "sub.yaml").write_text("services:\n  inner:\n    image: a\n    comand: b\n")
    found = reported(tmp_path)
    assert 'sub.yaml:4:5: services.inner.comand: is not known here\n    did you mean "command"?' in found
    assert "compose.yaml:3:5: include[1]: can't open nofile.yaml: No such file or directory" in found
    assert "compose.yaml:4:11: include[2]: env file no.env not found\n    make it, or take it out of include" in found
    assert any(each.startswith("compose.yaml:6:16: services.w.imag") for each in found)


def test_broken_yaml_of_an_included_file_has_its_own_place(tmp_path):
    (tmp_path / "compose.yaml").write_text("include: [sub.yaml]\n")
    (tmp_path / "sub.yaml").write_text("services:\n  a: [\n")
    (found,) = reported(tmp_path)
    assert found.startswith("sub.yaml:3:1: not valid YAML")


def test_a_missing_label_file_and_a_bad_line_in_one_are_reported(tmp_path):
    (tmp_path / "compose.yaml").write_text("services:\n  web:\n    image: a\n    label_file: [no.label, bad.label]\n")
    (tmp_path / "bad.label").write_text('ok=1\nopen="x\n')
    assert [each.split("\n")[0] for each in reported(tmp_path)] == [
        "compose.yaml:4:18: services.web.label_file[0]: label file no.label not found",
        'bad.label:2:1: open: the quote " is not closed',
    ]


def test_values_that_can_not_be_merged_are_reported_with_their_place(tmp_path):
    (tmp_path / "a.yaml").write_text("services: {web: {image: a, healthcheck: {interval: 1s}}}\n")
    (tmp_path / "b.yaml").write_text("services:\n  web:\n    healthcheck: [x]\n")
    (found,) = reported(tmp_path, files=("a.yaml", "b.yaml"))
    assert found.startswith("b.yaml:3:5: services.web.healthcheck: can't override")


# --- warnings


def test_an_unset_variable_is_warned_of_once_with_its_first_place(tmp_path):
    (tmp_path / "compose.yaml").write_text(
        'services:\n  web:\n    image: "a${FOO}"\n    command: ["$FOO", "${FOO}", "${BAR}", "${OK-}", "$SET"]\n'
    )
    assert project(tmp_path, {"SET": ""}).warnings == (
        'compose.yaml:3:12: variable "FOO" is not set, an empty string stands in for it (also at 2 further places)',
        'compose.yaml:4:33: variable "BAR" is not set, an empty string stands in for it',
    )


def test_services_that_extend_one_file_do_not_double_its_warnings(tmp_path):
    (tmp_path / "compose.yaml").write_text(
        "services:\n  a: {extends: {file: b.yaml, service: x}}\n  b: {extends: {file: b.yaml, service: x}}\n"
    )
    (tmp_path / "b.yaml").write_text('services: {x: {image: "i${FOO}"}}\n')
    assert project(tmp_path).warnings == ('b.yaml:1:23: variable "FOO" is not set, an empty string stands in for it',)


def test_an_obsolete_version_is_warned_of(tmp_path):
    (tmp_path / "compose.yaml").write_text("version: '3'\nservices: {w: {image: a}}\n")
    assert project(tmp_path).warnings == ('compose.yaml:1:1: "version" has no effect: leave it out',)


# --- whatever is wrong

DOCUMENT = {
    "name": "demo",
    "include": ["sub.yaml"],
    "services": {
        "web": {
            "image": "nginx",
            "build": {"context": ".", "args": {"A": "1"}, "ssh": ["default"], "ulimits": {"nproc": 3}},
            "extends": {"service": "base"},
            "ports": ["80:80", {"target": 80, "published": "8080"}],
            "environment": {"A": 1, "B": None},
            "env_file": [{"path": "x.env", "required": False}],
            "depends_on": {"db": {"condition": "service_healthy"}},
            "healthcheck": {"test": ["CMD", "true"], "interval": "1s", "retries": 3},
            "deploy": {"replicas": 2, "resources": {"limits": {"memory": "64M"}}},
            "volumes": ["a:/b", {"type": "bind", "source": ".", "target": "/c"}],
            "networks": {"default": {"aliases": ["x"]}},
            "develop": {"watch": [{"path": ".", "action": "rebuild"}]},
            "secrets": ["s"],
            "extra_hosts": ["a=1.2.3.4"],
        },
        "db": {"image": "postgres", "ulimits": {"nofile": {"soft": 1, "hard": 2}}, "gpus": "all"},
        "base": {"command": "run it", "logging": {"driver": "x"}},
    },
    "networks": {"default": {"driver": "bridge", "ipam": {"config": [{"subnet": "10.0.0.0/8"}]}}},
    "volumes": {"a": None},
    "secrets": {"s": {"file": "./s"}},
    "x-mine": [1, 2],
}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.floats(),
    st.text("a$:{}/.-1 ", max_size=5),
    st.lists(
        st.one_of(st.integers(), st.text(max_size=2), st.dictionaries(st.text(max_size=2), st.none())), max_size=2
    ),
    st.dictionaries(
        st.sampled_from(["name", "file", "service", "path", "external", "x-a", "target"]), st.text(max_size=3)
    ),
)


def paths(node, path=()):
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield from paths(child, (*path, key))


CHANGES = st.lists(st.tuples(st.sampled_from(list(paths(DOCUMENT))), ODD), min_size=1, max_size=3)


def changed(changes):
    document = copy.deepcopy(DOCUMENT)
    for path, value in changes:
        node = document
        for step in path[:-1]:
            node = node[step] if isinstance(node, dict | list) and _has(node, step) else {}
        if path and isinstance(node, dict | list) and _has(node, path[-1]):
            node[path[-1]] = value
    return document


@given(CHANGES)
def test_whatever_is_wrong_a_load_reports_it_as_a_config_error_with_places(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("p")
    (folder / "sub.yaml").write_text("services: {inner: {image: a}}")
    (folder / "compose.yaml").write_text(json.dumps(changed(changes)))
    for error in problems(folder):
        assert error.line or "name" in str(error) or "empty" in str(error), str(error)


@given(CHANGES, CHANGES)
def test_whatever_is_wrong_in_files_that_others_lead_to_it_is_a_config_error(tmp_path_factory, extended, included):
    folder = tmp_path_factory.mktemp("p")
    (folder / "sub.yaml").write_text("services: {inner: {image: a}}")
    (folder / "extended.yaml").write_text(json.dumps(changed(extended)))
    (folder / "included.yaml").write_text(json.dumps(changed(included)))
    (folder / "compose.yaml").write_text(
        "include: [included.yaml]\n"
        "services: {one: {extends: {file: extended.yaml, service: web}}, two: {extends: {file: extended.yaml, service: db}}}"
    )
    (folder / "compose.override.yaml").write_text(json.dumps(changed(extended + included)))
    for error in problems(folder):
        assert error.line or "name" in str(error) or "empty" in str(error), str(error)


def _has(node, step):
    return step in node if isinstance(node, dict) else isinstance(step, int) and step < len(node)
