import random

import pytest

from compose.render.yaml_order import in_order, name_order


@pytest.mark.parametrize(
    "names",
    [
        # as docker compose 2.40.3 writes them
        ["_Z", "1x", "A2", "A02", "A10", "DB", "DB_HOST", "DBX", "a-b", "a.b", "a_b", "a1b", "aB", "ab1"],
        ["com.x-y", "com.x.9", "com.x.10", "com.xy"],
        ["web2", "web9", "web10", "web10-a"],
        ["a1b", "a1.b", "a100", "a100b", "a101"],
    ],
)
def test_numbers_in_names_count_as_such_and_letters_come_last(names):
    mixed = list(names)
    random.Random(1).shuffle(mixed)
    assert sorted(mixed, key=name_order) == names


def test_names_are_ordered_and_attributes_stay_as_they_are():
    labels = {"n10": "", "n9": ""}
    model = {
        "services": {"options10": {"labels": labels, "image": "i"}, "options": {"image": "i", "command": ["b", "a"]}},
        "name": "n",
        "x-own": {"b": [labels], "a": ""},
    }
    found = in_order(model)
    assert found == model
    assert list(found) == ["services", "name", "x-own"]
    assert list(found["services"]) == ["options", "options10"]
    assert list(found["services"]["options"]) == ["image", "command"]
    assert list(found["services"]["options10"]["labels"]) == ["n9", "n10"]
    assert list(found["x-own"]) == ["a", "b"]
    assert list(found["x-own"]["b"][0]) == ["n9", "n10"]
