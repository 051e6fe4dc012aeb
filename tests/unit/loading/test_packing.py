"""What a Compose file that is packed gives away."""

import pytest

from compose.loading.packing import literal_variables


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ("[A=1, 'B=', C, 'D=${D}', 'E=x$E', 'F=a=b']", ["A=1", "B=", "F=a=b"]),
        ("{A: 1, B: null, C: '${C:-secret}', D: '$5', E: 'x'}", ["A=1", "D=$5", "E=x"]),
        ("", []),
        ("wrong", []),
    ],
)
def test_only_values_that_the_file_holds_itself_are_literal(environment, shown):
    content = f"services:\n  web: {{image: a, environment: {environment}}}\n  other:\n".encode()
    assert list(literal_variables(content, "compose.yaml")) == [("web", each) for each in shown]


def test_a_file_without_services_has_none():
    assert not list(literal_variables(b"volumes: {}\n---\n[]\n", "compose.yaml"))
