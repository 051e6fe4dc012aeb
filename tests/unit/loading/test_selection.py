"""Which services profiles and names choose, and what these use."""

import pytest

from compose.errors import ConfigError
from compose.loading.selection import enable, in_order, select, used

SERVICES = {
    "always": {},
    "one": {"profiles": ["one"]},
    "both": {"profiles": ["one", "two"]},
    "two": {"profiles": ["two"]},
    "empty": {"profiles": []},
}


@pytest.mark.parametrize(
    ("active", "named", "off"),
    [
        (set(), (), {"one", "both", "two"}),
        ({"one"}, (), {"two"}),
        ({"one", "two"}, (), set()),
        ({"*"}, (), set()),
        ({"other"}, (), {"one", "both", "two"}),
        (set(), ("one",), {"two"}),
        (set(), ("both",), set()),
        # one that is on already enables nothing further
        ({"one"}, ("both",), {"two"}),
        (set(), ("always", "unknown"), {"one", "both", "two"}),
    ],
)
def test_profiles_and_names_enable_services(active, named, off):
    enabled, disabled = enable(SERVICES, active, named)
    assert set(disabled) == off
    assert list(enabled) == [name for name in SERVICES if name not in off]


CHAIN = {
    "web": {"depends_on": {"api": {}, "cache": {}}},
    "api": {"depends_on": {"db": {}}},
    "db": {},
    "cache": {"depends_on": {"gone": {"required": False}}},
    "other": {"depends_on": {"web": {}}},
}


def test_a_service_is_chosen_with_all_it_depends_on():
    assert select(CHAIN, ["api"]) == {"api", "db"}
    assert select(CHAIN, ["web"]) == {"web", "api", "db", "cache"}
    with pytest.raises(ConfigError, match="no such service: nope"):
        select(CHAIN, ["web", "nope"])


def test_services_come_after_what_they_depend_on_and_by_name():
    assert in_order(CHAIN, list(CHAIN)) == ["db", "api", "cache", "web", "other"]
    assert in_order({"a": {"depends_on": {"b": {}}}, "b": {"depends_on": {"a": {}}}}, ["a"]) == ["b", "a"]


def test_resources_are_used_through_every_attribute_that_names_them():
    services = {
        "web": {
            "networks": {"n": None},
            "volumes": [{"type": "volume", "source": "v"}, {"type": "bind", "source": "/b"}, {"type": "volume"}],
            "secrets": [{"source": "s"}],
            "configs": [{"source": "c"}],
            "build": {"secrets": [{"source": "t"}]},
            "models": {"m": None},
        },
        "idle": {},
    }
    assert used(services) == {
        "networks": {"n"},
        "volumes": {"v"},
        "secrets": {"s", "t"},
        "configs": {"c"},
        "models": {"m"},
    }
