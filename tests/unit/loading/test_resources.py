"""Networks, volumes, configs, secrets, models and the top level: what the reference makes of them, and what it refuses."""

import pytest

from tests.support.models import loaded, placed, refusal, row_names

SERVICE = "services: {web: {image: a}}\n"
RESOURCES = [
    ("networks", "null", {"name": "demo_n", "ipam": {}}),
    ("networks", "{}", {"name": "demo_n", "ipam": {}}),
    ("networks", "{name: mine}", {"name": "mine", "ipam": {}}),
    ("networks", "{external: true}", {"name": "n", "ipam": {}, "external": True}),
    ("networks", "{external: 'true', name: other}", {"name": "other", "ipam": {}, "external": True}),
    ("networks", "{external: {name: other}}", {"name": "other", "ipam": {}, "external": True}),
    ("networks", "{external: {}}", {"name": "n", "ipam": {}, "external": True}),
    ("networks", "{external: false}", {"name": "demo_n", "ipam": {}}),
    ("networks", "{external: true, driver: overlay}", {"name": "n", "driver": "overlay", "ipam": {}, "external": True}),
    (
        "networks",
        "{driver: bridge, driver_opts: {a: 1, b: x}, attachable: true, internal: 'yes', labels: [a=b, c]}",
        {
            "name": "demo_n",
            "driver": "bridge",
            "driver_opts": {"a": "1", "b": "x"},
            "ipam": {},
            "internal": True,
            "attachable": True,
            "labels": {"a": "b", "c": ""},
        },
    ),
    (
        "networks",
        "{enable_ipv4: false, enable_ipv6: true, internal: false}",
        {"name": "demo_n", "ipam": {}, "enable_ipv4": False, "enable_ipv6": True},
    ),
    (
        "networks",
        "{ipam: {driver: default, options: {a: b}, config: [{subnet: 172.28.0.0/16, ip_range: 172.28.5.0/24, "
        "gateway: 172.28.5.254, aux_addresses: {h: 172.28.1.5}}, {subnet: '2001:db8::/64'}]}}",
        {
            "name": "demo_n",
            "ipam": {
                "driver": "default",
                "config": [
                    {
                        "subnet": "172.28.0.0/16",
                        "gateway": "172.28.5.254",
                        "ip_range": "172.28.5.0/24",
                        "aux_addresses": {"h": "172.28.1.5"},
                    },
                    {"subnet": "2001:db8::/64"},
                ],
            },
        },
    ),
    ("volumes", "null", {"name": "demo_n"}),
    ("volumes", "{name: ''}", {}),
    ("volumes", "{external: true}", {"name": "n", "external": True}),
    ("volumes", "{external: true, name: x, x-a: 1}", {"name": "x", "external": True}),
    ("volumes", "{external: {name: x}}", {"name": "x", "external": True}),
    (
        "volumes",
        "{driver: local, driver_opts: {type: none, o: bind, device: ./d, n: 1}, labels: {a: b}}",
        {
            "name": "demo_n",
            "driver": "local",
            "driver_opts": {"device": "{here}/d", "n": "1", "o": "bind", "type": "none"},
            "labels": {"a": "b"},
        },
    ),
    (
        "volumes",
        "{driver: nfs, driver_opts: {o: bind, device: ./d}}",
        {"name": "demo_n", "driver": "nfs", "driver_opts": {"device": "./d", "o": "bind"}},
    ),
    ("configs", "{file: ./f}", {"name": "demo_n", "file": "{here}/f"}),
    ("configs", "{file: ~/f}", {"name": "demo_n", "file": "/home/me/f"}),
    ("configs", "{content: 'a $$b', name: x}", {"name": "x", "content": "a $b"}),
    ("configs", "{environment: HERE}", {"name": "demo_n", "environment": "HERE"}),
    ("configs", "{external: true, name: x}", {"name": "x", "external": True}),
    (
        "configs",
        "{file: /f, labels: [a=b], template_driver: golang}",
        {"name": "demo_n", "file": "/f", "labels": {"a": "b"}, "template_driver": "golang"},
    ),
    ("secrets", "{file: ./f}", {"name": "demo_n", "file": "{here}/f"}),
    ("secrets", "{environment: NOWHERE}", {"name": "demo_n", "environment": "NOWHERE"}),
    ("secrets", "{external: true}", {"name": "n", "external": True}),
    ("configs", "{external: {name: x}}", {"name": "x", "external": True}),
    ("secrets", "{external: true, name: x}", {"name": "x", "external": True}),
    ("secrets", "{external: {name: x}}", {"name": "x", "external": True}),
    (
        "secrets",
        "{file: f, driver: d, driver_opts: {a: 1}, labels: {a: b}, template_driver: t}",
        {
            "name": "demo_n",
            "file": "{here}/f",
            "labels": {"a": "b"},
            "driver": "d",
            "driver_opts": {"a": "1"},
            "template_driver": "t",
        },
    ),
    ("models", "{model: ai/m}", {"model": "ai/m"}),
    (
        "models",
        "{model: ai/m, name: x, context_size: 4096, runtime_flags: [--a, b]}",
        {"name": "x", "model": "ai/m", "context_size": 4096, "runtime_flags": ["--a", "b"]},
    ),
]


@pytest.mark.parametrize(("section", "value", "expected"), RESOURCES, ids=row_names(RESOURCES))
def test_a_resource_becomes_what_the_reference_makes_of_it(tmp_path, section, value, expected):
    project = loaded(tmp_path, f"{SERVICE}{section}:\n  n: {value}\n", {"HERE": "yes", "HOME": "/home/me"})
    assert getattr(project, section)["n"] == placed(expected, tmp_path)


REFUSED = [
    ("networks", "{drivr: a}", 'did you mean "driver"'),
    ("networks", "[]", "networks.n"),
    ("networks", "{ipam: {config: {}}}", "must be a list"),
    ("networks", "{ipam: {config: [{subnet: 1}]}}", "subnet"),
    ("networks", "{driver_opts: {a: true}}", "driver_opts.a"),
    ("networks", "{external: {name: a}, name: b}", "external.name"),
    ("networks", "{enable_ipv6: maybe}", "not a boolean"),
    ("networks", "{internal: 1}", "true or false"),
    ("volumes", "{external: true, driver: local}", "external volume"),
    ("volumes", "{external: true, labels: [a]}", "external volume"),
    ("volumes", "{name: 1}", "must be a string"),
    ("configs", "null", "must be a mapping"),
    ("configs", "{}", "file, environment, content"),
    ("configs", "{name: x}", "file, environment, content"),
    ("configs", "{file: a, content: b}", "can't be used together"),
    ("configs", "{driver: a}", "not known here"),
    ("secrets", "{}", "file, environment"),
    ("secrets", "{file: a, environment: b}", "can't be used together"),
    ("secrets", "{content: a}", "not known here"),
    ("secrets", "{driver: d}", "file, environment"),
    ("secrets", "{external: false}", "file, environment"),
    ("secrets", "{environment: ''}", "file, environment"),
    ("models", "{}", '"model" is missing'),
    ("models", "{model: a, context_size: big}", "whole number"),
    ("models", "{model: a, runtime_flags: a}", "must be a list"),
]


@pytest.mark.parametrize(("section", "value", "told"), REFUSED, ids=row_names(REFUSED))
def test_a_resource_that_the_reference_refuses_is_refused_and_named(tmp_path, section, value, told):
    assert told in refusal(tmp_path, f"{SERVICE}{section}:\n  n: {value}\n")


@pytest.mark.parametrize("section", ["networks", "volumes", "configs", "secrets", "models", "services"])
def test_a_section_is_a_mapping(tmp_path, section):
    text = SERVICE if section != "services" else ""
    assert "must be a mapping" in refusal(tmp_path, f"{text}{section}: [a]\n")
    assert "must be a mapping" in refusal(tmp_path, f"{text}x-a: 1\n{section}:\n")


@pytest.mark.parametrize("section", ["volumes", "configs", "secrets", "services"])
def test_names_are_of_letters_digits_dots_and_dashes(tmp_path, section):
    text = SERVICE if section != "services" else ""
    assert "not known here" in refusal(tmp_path, f"{text}{section}: {{'a b': {{file: a}}}}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version: 3\n" + SERVICE, "version: must be a string"),
        ("version: 3.8\n" + SERVICE, "version: must be a string"),
        ("name: 3\n" + SERVICE, "must be a string"),
        ("include: {a: b}\n" + SERVICE, "include"),
        ("include: [{path: 1}]\n" + SERVICE, "include"),
        ("- a\n", "mapping"),
        ("a\n", "mapping"),
        ("", "empty compose file"),
        ("foo: 1\n" + SERVICE, "not known here"),
        ("apiVersion: v1\nkind: Pod\n", "not known here"),
    ],
)
def test_what_is_no_compose_file_is_refused(tmp_path, text, told):
    assert told in refusal(tmp_path, text)


def test_the_top_level_keeps_its_extensions(tmp_path):
    project = loaded(tmp_path, "version: '3'\nx-a: {b: [1, null]}\nx-b: 2\n" + SERVICE)
    assert project.model()["x-a"] == {"b": [1, None]}
    assert project.extensions == {"x-a": {"b": [1, None]}, "x-b": 2}
    assert any("version" in warning for warning in project.warnings)


def test_a_project_without_services_is_one(tmp_path):
    assert loaded(tmp_path, "volumes: {a: {}}\n").model() == {
        "name": "demo",
        "services": {},
        "volumes": {"a": {"name": "demo_a"}},
    }
