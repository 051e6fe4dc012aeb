"""The tables of this folder have a line for every attribute that the schema knows, at every depth."""

import yaml

from compose.loading.validation import Schema
from tests.unit.loading.test_builds import BUILDS
from tests.unit.loading.test_dependencies import DEPENDENCIES, MODELS
from tests.unit.loading.test_deploy_and_develop import SECTIONS
from tests.unit.loading.test_mounts_and_ports import FILES, MOUNTS, PORTS
from tests.unit.loading.test_resources import RESOURCES
from tests.unit.loading.test_service_attributes import ATTRIBUTES

SCHEMA = Schema.compose().document
ELSEWHERE = {
    ("services", "*", "env_file"),  # tests of the files that services name
    ("services", "*", "label_file"),
    ("services", "*", "extends"),
    ("include",),
    ("name",),
    ("version",),
}


def resolved(schema):
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def attributes(schema, path=()):
    """Yield the path of every attribute; names that users give, and places in lists, are "*"."""
    schema = resolved(schema)
    for branch in schema.get("oneOf", ()):
        yield from attributes(branch, path)
    for key, child in schema.get("properties", {}).items():
        yield (*path, key)
        yield from attributes(child, (*path, key))
    for pattern, child in schema.get("patternProperties", {}).items():
        if pattern != "^x-":
            yield from attributes(child, (*path, "*"))
    if "items" in schema:
        yield from attributes(schema["items"], (*path, "*"))


def written(schema, value, path=()):
    """Yield the paths of the attributes that a value has."""
    schema = resolved(schema)
    for branch in schema.get("oneOf", ()):
        yield from written(branch, value, path)
    if isinstance(value, dict):
        for key, child in value.items():
            if key in schema.get("properties", {}):
                yield (*path, key)
                yield from written(schema["properties"][key], child, (*path, key))
            else:
                for pattern, named in schema.get("patternProperties", {}).items():
                    if pattern != "^x-":
                        yield from written(named, child, (*path, "*"))
    if isinstance(value, list) and "items" in schema:
        for each in value:
            yield from written(schema["items"], each, (*path, "*"))


def documents():
    rows = [(attribute, value) for attribute, value, _ in (*ATTRIBUTES, *SECTIONS, *MOUNTS)]
    rows += [("ports", value) for value, _ in PORTS] + [("build", value) for value, _ in BUILDS]
    rows += [("models", value) for value, _ in MODELS]
    for value, _ in FILES:
        rows += [("configs", value), ("secrets", value), ("build", f"{{secrets: {value}}}")]
    for attribute, value in rows:
        yield {"services": {"web": yaml.safe_load(f"{attribute}: {value}")}}
    for attributes_of_one, _ in DEPENDENCIES:
        yield {"services": {"web": yaml.safe_load(f"{{{attributes_of_one}}}")}}
    for section, value, _ in RESOURCES:
        yield {section: {"n": yaml.safe_load(value)}}


def test_every_attribute_of_the_schema_has_a_line():
    seen = {path for document in documents() for path in written(SCHEMA, document)}
    known = set(attributes(SCHEMA))
    missing = {path for path in known - seen if not any(path[: len(one)] == one for one in ELSEWHERE)}
    assert sorted(missing) == []
    assert len(known) > 250
