"""What the reference makes of a service's `build`."""

import pytest

from tests.support.models import ENVIRON, REST, same, service

BUILD = {"context": "{here}", "dockerfile": "Dockerfile"}
BUILDS = [
    (".", BUILD),
    ("./dir", {**BUILD, "context": "{here}/dir"}),
    ("/abs", {**BUILD, "context": "/abs"}),
    ("https://github.com/a/b.git#main", {**BUILD, "context": "https://github.com/a/b.git#main"}),
    ("git@github.com:a/b.git", {**BUILD, "context": "git@github.com:a/b.git"}),
    ("{}", BUILD),
    ("{context: ., dockerfile: D}", {**BUILD, "dockerfile": "D"}),
    ('{dockerfile_inline: "FROM a"}', {"context": "{here}", "dockerfile_inline": "FROM a"}),
    ("{entitlements: [network.host]}", {**BUILD, "entitlements": ["network.host"]}),
    ("{args: {A: 1, HERE: null, NOWHERE: null}}", {**BUILD, "args": {"A": "1", "HERE": "yes"}}),
    ("{args: [A=1, HERE, NOWHERE, B=]}", {**BUILD, "args": {"A": "1", "B": "", "HERE": "yes"}}),
    ("{ssh: [default]}", {**BUILD, "ssh": ["default"]}),
    ("{ssh: {default: null, k: ./id}}", {**BUILD, "ssh": ["default", "k: {here}/id"]}),
    ("{ssh: [k=/abs/id]}", {**BUILD, "ssh": ["k: /abs/id"]}),
    ("{labels: {a: 1}}", {**BUILD, "labels": {"a": "1"}}),
    ("{cache_from: [a, 'type=local,src=x']}", {**BUILD, "cache_from": ["a", "type=local,src=x"]}),
    ("{cache_to: ['type=local,dest=x']}", {**BUILD, "cache_to": ["type=local,dest=x"]}),
    ("{no_cache: true, pull: 'yes', privileged: true}", {**BUILD, "no_cache": True, "pull": True, "privileged": True}),
    ("{no_cache: false}", BUILD),
    ("{no_cache_filter: base}", {**BUILD, "no_cache_filter": ["base"]}),
    ("{no_cache_filter: [base, tools]}", {**BUILD, "no_cache_filter": ["base", "tools"]}),
    (
        "{additional_contexts: {r: https://x/y.git, l: ./l, s: 'service:web', i: 'docker-image://a'}}",
        {
            **BUILD,
            "additional_contexts": {
                "r": "https://x/y.git",
                "l": "{here}/l",
                "s": "service:web",
                "i": "docker-image://a",
            },
        },
    ),
    ("{additional_contexts: [l=./l]}", {**BUILD, "additional_contexts": {"l": "{here}/l"}}),
    (
        "{network: host, target: t, isolation: process}",
        {**BUILD, "network": "host", "target": "t", "isolation": "process"},
    ),
    ("{provenance: true, sbom: false}", {**BUILD, "provenance": "true", "sbom": "false"}),
    ("{provenance: mode=max, sbom: 'true'}", {**BUILD, "provenance": "mode=max", "sbom": "true"}),
    ("{shm_size: 128m}", {**BUILD, "shm_size": "134217728"}),
    ("{shm_size: 1000}", {**BUILD, "shm_size": "1000"}),
    ("{extra_hosts: ['a:1.2.3.4']}", {**BUILD, "extra_hosts": ["a=1.2.3.4"]}),
    ("{tags: ['a:1', 'b:2']}", {**BUILD, "tags": ["a:1", "b:2"]}),
    (
        "{ulimits: {nofile: {soft: 1, hard: 2}, nproc: 3}}",
        {**BUILD, "ulimits": {"nofile": {"soft": 1, "hard": 2}, "nproc": 3}},
    ),
    ("{platforms: [linux/amd64, linux/arm64]}", {**BUILD, "platforms": ["linux/amd64", "linux/arm64"]}),
    ("{x-bake: {a: b}}", BUILD),
]


@pytest.mark.parametrize(("value", "expected"), BUILDS, ids=[row[0] for row in BUILDS])
def test_a_build_becomes_what_the_reference_makes_of_it(tmp_path, value, expected):
    found = service(tmp_path, "build", value, REST, ENVIRON)
    assert same(found, expected, tmp_path), found
