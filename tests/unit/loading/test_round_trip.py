"""What `config` writes loads to the same model, whatever the model is."""

import json
import re

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from compose.errors import ConfigError
from compose.loading.validation import Schema
from compose.render.model_text import model_text
from runtime.errors import SkiffError
from tests.support.documents import NAMES, TEXTS, alike
from tests.support.models import loaded

SCHEMA = Schema.compose().document
SERVICE = SCHEMA["$defs"]["service"]["properties"]
WORDS = [text for text in TEXTS if text]  # an empty text is left out, and a name may not be empty
SECTIONS = ("networks", "volumes", "secrets", "configs", "models")
NOT_ALIKE = {
    "extends": "it is gone once it is resolved",
    "env_file": "it is gone once it is read",
    "label_file": "it is gone once it is read",
}

REFERENCES = ("depends_on", "links", "models", "networks", "volumes_from")
YAML_ALONE = ("blkio_config", "build", "ulimits")
"""The reference's JSON has rules of block devices in capitals and no limit of 0, which its own schema refuses."""

NOT_NEGATIVE = {
    *(
        "mem_limit",
        "mem_reservation",
        "mem_swappiness",
        "memswap_limit",
        "shm_size",
        "blkio_config",
        "build",
        "volumes",
    ),
    *("configs", "secrets"),
}
"""Of sizes and modes the reference takes negative numbers, writes them as texts, and takes no such text."""


def again(folder, text, format, **options):
    """Return a file's model, and that of what `config` writes of it; neither where the file is refused."""
    options["nested_extensions"] = True
    try:
        project = loaded(folder, text, {"HOME": "/home/me"}, **options)
        written = model_text(project.model(), format, project.nested_extensions).replace("$", "$$")
    except (ConfigError, SkiffError):
        assume(False)
    second = loaded(folder, written, {"HOME": "/home/me"}, **options)
    if format == "yaml":
        assert second.nested_extensions == project.nested_extensions
    return project.model(), second.model()


@given(st.sampled_from(sorted(set(SERVICE) - set(NOT_ALIKE))), st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_a_service_is_the_same_again(tmp_path_factory, attribute, data):
    folder = tmp_path_factory.mktemp("p")
    texts = NAMES if attribute in REFERENCES else WORDS
    value = data.draw(alike(SERVICE[attribute], SCHEMA, 1, is_odd=False, texts=texts))
    assume(attribute not in NOT_NEGATIVE or not re.search(r"-[0-9]", json.dumps(value)))
    # the reference writes SSH keys as it reads none, and takes no context that is not a text
    assume(attribute != "build" or not {"ssh", "additional_contexts"} & set(value))
    text = json.dumps({"services": {"web": {"image": "a", attribute: value}}})
    is_json = attribute not in YAML_ALONE and data.draw(st.booleans())
    first, second = again(folder, text, "json" if is_json else "yaml", check_consistency=False)
    assert second == first


@given(st.sampled_from(SECTIONS), st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_a_resource_is_the_same_again(tmp_path_factory, section, data):
    folder = tmp_path_factory.mktemp("p")
    value = data.draw(alike(SCHEMA["$defs"][section.removesuffix("s")], SCHEMA, 1, is_odd=False, texts=WORDS))
    assume(not (section == "configs" and value.get("external") is False))  # nothing is left of it, nor of what it is
    text = json.dumps({"services": {"web": {"image": "a"}}, section: {"one": value}})
    first, second = again(folder, text, "json" if data.draw(st.booleans()) else "yaml")
    assert second == first
