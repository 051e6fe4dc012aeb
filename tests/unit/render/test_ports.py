"""Published ports as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose.render.ports import ports


def port(private, public=0, host="0.0.0.0", kind="tcp"):
    return {"PrivatePort": private, "Type": kind, **({"PublicPort": public, "IP": host} if public else {})}


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ([], ""),
        ([port(80)], "80/tcp"),
        ([port(80, 8080)], "0.0.0.0:8080->80/tcp"),
        ([port(80, 80)], "0.0.0.0:80->80/tcp"),
        ([port(80, 8080, "::1")], "[::1]:8080->80/tcp"),
        ([port(80, 80), port(80, 80, "::")], "0.0.0.0:80->80/tcp, [::]:80->80/tcp"),
        ([port(9000), port(9001), port(9003)], "9000-9001/tcp, 9003/tcp"),
        ([port(7000, 7000), port(7001, 7001), port(7002, 7002)], "0.0.0.0:7000-7002->7000-7002/tcp"),
        ([port(53, 53, kind="udp"), port(53, 53)], "0.0.0.0:53->53/tcp, 0.0.0.0:53->53/udp"),
        ([port(81, 8081), port(80)], "80/tcp, 0.0.0.0:8081->81/tcp"),
    ],
)
def test_ports_are_shown_as_the_docker_command_shows_them(listed, text):
    assert ports(listed) == text


@given(st.permutations([port(80, 8080), port(80, 80), port(81, 81), port(82), port(443, 443, "::")]))
def test_the_order_they_come_in_does_not_matter(listed):
    assert ports(listed) == ports(sorted(listed, key=str))
