import os

import pytest

from runtime.build.arguments import epoch, global_arguments, unused
from runtime.build.errors import DockerfileError
from runtime.build.options import BuildOptions, options_from_query
from runtime.build.parser import parse
from runtime.errors import BadRequestError

HERE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def test_platforms_are_known_without_being_declared():
    found = global_arguments(parse("FROM a AS one\nFROM b"), BuildOptions(platform="linux/arm/v7", target="one"), set())
    assert found == {
        "BUILDPLATFORM": f"linux/{HERE}", "BUILDOS": "linux", "BUILDARCH": HERE, "BUILDVARIANT": "",
        "TARGETPLATFORM": "linux/arm/v7", "TARGETOS": "linux", "TARGETARCH": "arm", "TARGETVARIANT": "v7",
        "TARGETSTAGE": "one",
    }  # fmt: skip


def test_global_arguments_see_earlier_ones_and_given_values_win():
    used = set()
    text = "ARG A=1\nARG B=${A}2\nARG C\nARG D=$C\nFROM x"
    found = global_arguments(parse(text), BuildOptions(build_args={"A": "9", "Z": "z"}), used)
    assert (found["A"], found["B"], found["D"], "C" in found, used) == ("9", "92", "", False, {"A"})


def test_only_arguments_that_nobody_takes_are_called_unused():
    names = ("A", "Z", "HTTP_PROXY", "no_proxy", "BUILDKIT_INLINE_CACHE", "SOURCE_DATE_EPOCH")
    assert unused(BuildOptions(build_args=dict.fromkeys(names, "")), {"A"}) == ["Z"]


def test_the_epoch_is_a_number_of_seconds():
    assert epoch(BuildOptions()) is None
    assert epoch(BuildOptions(build_args={"SOURCE_DATE_EPOCH": "7"})) == 7
    with pytest.raises(DockerfileError, match="SOURCE_DATE_EPOCH"):
        epoch(BuildOptions(build_args={"SOURCE_DATE_EPOCH": "-7"}))


def test_a_query_names_secrets_agents_contexts_and_entitlements():
    options = options_from_query(
        {
            "secrets": ['{"a": ".x/a"}'],
            "ssh": ['{"default": "/run/agent"}'],
            "contexts": ['{"c": "docker-image://b"}'],
            "entitlements": ["network.host", "security.insecure"],
        }
    )
    assert (options.secret_members, options.ssh, options.contexts) == (
        {"a": ".x/a"},
        {"default": "/run/agent"},
        {"c": "docker-image://b"},
    )
    assert options.entitlements == {"network.host", "security.insecure"}
    with pytest.raises(BadRequestError, match="unknown entitlement 'device'"):
        options_from_query({"entitlements": ["device"]})
