"""What the reference makes of the attributes `deploy` and `develop`."""

import pytest

from tests.support.models import ABSENT, ENVIRON, REST, row_names, same, service

SECTIONS = [
    ("deploy", "{}", {"resources": {}, "placement": {}}),
    ("deploy", "null", ABSENT),
    (
        "deploy",
        "{mode: replicated, replicas: 0, endpoint_mode: dnsrr, labels: [A=B, C]}",
        {
            "mode": "replicated",
            "replicas": 0,
            "labels": {"A": "B", "C": ""},
            "resources": {},
            "placement": {},
            "endpoint_mode": "dnsrr",
        },
    ),
    ("deploy", '{replicas: "6"}', {"replicas": 6, "resources": {}, "placement": {}}),
    (
        "deploy",
        "{update_config: {parallelism: 3, delay: 10s, failure_action: continue, monitor: 60s, max_failure_ratio: 0.3, "
        "order: start-first}, rollback_config: {parallelism: 0, delay: 0s, failure_action: pause, monitor: 0s, "
        "max_failure_ratio: '0.5', order: stop-first}}",
        {
            "update_config": {
                "parallelism": 3,
                "delay": "10s",
                "failure_action": "continue",
                "monitor": "1m0s",
                "max_failure_ratio": 0.3,
                "order": "start-first",
            },
            "rollback_config": {
                "parallelism": 0,
                "failure_action": "pause",
                "max_failure_ratio": 0.5,
                "order": "stop-first",
            },
            "resources": {},
            "placement": {},
        },
    ),
    (
        "deploy",
        "{resources: {limits: {cpus: '0.001', memory: 50M, pids: 100}, reservations: {cpus: 0.0001, memory: 20m}}}",
        {
            "resources": {
                "limits": {"cpus": 0.001, "memory": "52428800", "pids": 100},
                "reservations": {"cpus": 0.0001, "memory": "20971520"},
            },
            "placement": {},
        },
    ),
    (
        "deploy",
        "{resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: gpu, value: 2}}, "
        "{discrete_resource_spec: {kind: ssd, value: '1'}}, {discrete_resource_spec: {kind: x}}]}}}",
        {
            "resources": {
                "reservations": {
                    "generic_resources": [
                        {"discrete_resource_spec": {"kind": "gpu", "value": 2}},
                        {"discrete_resource_spec": {"kind": "ssd", "value": 1}},
                        {"discrete_resource_spec": {"kind": "x", "value": 0}},
                    ]
                }
            },
            "placement": {},
        },
    ),
    (
        "deploy",
        "{resources: {reservations: {devices: [{driver: nvidia, count: 1, capabilities: [gpu, utility]}, "
        "{capabilities: [tpu], count: all}, {capabilities: [gpu], device_ids: ['0', '3'], options: {virt: 1}}, "
        "{driver: cdi}]}}}",
        {
            "resources": {
                "reservations": {
                    "devices": [
                        {"capabilities": ["gpu", "utility"], "driver": "nvidia", "count": 1},
                        {"capabilities": ["tpu"], "count": -1},
                        {"capabilities": ["gpu"], "device_ids": ["0", "3"], "options": {"virt": "1"}},
                        {"driver": "cdi", "count": -1},
                    ]
                }
            },
            "placement": {},
        },
    ),
    (
        "deploy",
        "{restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}, placement: {constraints: "
        "[node==foo], preferences: [{spread: node.labels.az}], max_replicas_per_node: 5}}",
        {
            "resources": {},
            "restart_policy": {"condition": "on-failure", "delay": "5s", "max_attempts": 3, "window": "2m0s"},
            "placement": {
                "constraints": ["node==foo"],
                "preferences": [{"spread": "node.labels.az"}],
                "max_replicas_per_node": 5,
            },
        },
    ),
    (
        "deploy",
        "{restart_policy: {delay: 0s, max_attempts: '0'}}",
        {"resources": {}, "restart_policy": {"delay": "0s", "max_attempts": 0}, "placement": {}},
    ),
    (
        "develop",
        "{watch: [{path: ./src, action: sync, target: /src, ignore: node_modules/, include: [a, b], initial_sync: true}, "
        "{path: ., action: rebuild}, {path: /etc/x, action: restart}]}",
        {
            "watch": [
                {
                    "path": "{here}/src",
                    "action": "sync",
                    "target": "/src",
                    "exec": {"command": None},
                    "include": ["a", "b"],
                    "ignore": ["node_modules/"],
                    "initial_sync": True,
                },
                {"path": "{here}", "action": "rebuild", "exec": {"command": None}},
                {"path": "/etc/x", "action": "restart", "exec": {"command": None}},
            ]
        },
    ),
    (
        "develop",
        "{watch: [{path: a, action: sync+exec, target: /a, exec: {command: make all, user: u, privileged: true, "
        "working_dir: /w, environment: [A=1]}}, {path: b, action: sync+restart, target: /b}]}",
        {
            "watch": [
                {
                    "path": "{here}/a",
                    "action": "sync+exec",
                    "target": "/a",
                    "exec": {
                        "command": ["make", "all"],
                        "user": "u",
                        "privileged": True,
                        "working_dir": "/w",
                        "environment": {"A": "1"},
                    },
                },
                {"path": "{here}/b", "action": "sync+restart", "target": "/b", "exec": {"command": None}},
            ]
        },
    ),
    ("develop", "null", ABSENT),
]


@pytest.mark.parametrize(("attribute", "value", "expected"), SECTIONS, ids=row_names(SECTIONS))
def test_a_section_becomes_what_the_reference_makes_of_it(tmp_path, attribute, value, expected):
    found = service(tmp_path, attribute, value, REST, ENVIRON)
    assert same(found, expected, tmp_path), found
