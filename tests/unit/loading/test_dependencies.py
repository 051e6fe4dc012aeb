"""What a service depends on, whichever attribute says so, and the models it uses."""

import pytest

from tests.support.models import REST, loaded, service

STARTED = {"condition": "service_started", "required": True}
RESTARTED = {"condition": "service_started", "restart": True, "required": True}
DEPENDENCIES = [
    ("depends_on: [other]", {"other": STARTED}),
    ("depends_on: []", None),
    ("depends_on: {other: {condition: service_healthy}}", {"other": {**STARTED, "condition": "service_healthy"}}),
    (
        "depends_on: {other: {condition: service_completed_successfully, restart: 'true', required: false}}",
        {"other": {"condition": "service_completed_successfully", "restart": True, "required": False}},
    ),
    ("links: [other]", {"other": RESTARTED}),
    ("links: ['other:alias']", {"other": RESTARTED}),
    ("network_mode: service:other", {"other": RESTARTED}),
    ("ipc: service:other", {"other": RESTARTED}),
    ("pid: service:other", {"other": RESTARTED}),
    ("uts: service:other", {"other": RESTARTED}),
    ("volumes_from: ['other:ro']", {"other": STARTED}),
    ("volumes_from: ['container:other']", None),
    (
        "depends_on: {other: {condition: service_healthy}}, links: [other], ipc: service:other",
        {"other": {**STARTED, "condition": "service_healthy"}},
    ),
]


@pytest.mark.parametrize(("attributes", "expected"), DEPENDENCIES, ids=[row[0] for row in DEPENDENCIES])
def test_a_dependency_is_written_out_whatever_implies_it(tmp_path, attributes, expected):
    text = f"services: {{web: {{image: a, {attributes}}}, other: {{image: b}}}}"
    assert loaded(tmp_path, text).services["web"].config.get("depends_on") == expected


def test_without_normalization_only_what_is_written_counts(tmp_path):
    text = "services: {web: {image: a, links: [other]}, other: {image: b}}"
    assert "depends_on" not in loaded(tmp_path, text, normalize=False).services["web"].config


MODELS = [
    ("[llm]", {"llm": None}),
    ("{llm: {}}", {"llm": {}}),
    ("{llm: {endpoint_var: E, model_var: M}}", {"llm": {"endpoint_var": "E", "model_var": "M"}}),
]


@pytest.mark.parametrize(("value", "expected"), MODELS, ids=[row[0] for row in MODELS])
def test_models_become_what_the_reference_makes_of_them(tmp_path, value, expected):
    assert service(tmp_path, "models", value, REST) == expected
