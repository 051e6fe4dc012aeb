import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadRequestError, ConflictError, ForbiddenError
from runtime.network.model import Network, Subnet
from runtime.network.subnets import (
    BRIDGE,
    INTERFACE,
    PRIVATE,
    ROUTE,
    Claim,
    complete_subnet,
    conflict,
    free_ipv6_subnet,
    free_subnet,
)

DOCKER_POOLS = [f"172.{n}.0.0/16" for n in range(17, 32)] + [f"192.168.{n}.0/20" for n in range(0, 256, 16)]


def network(*subnets, name="front"):
    return Network("id", name, "bridge", "", subnets)


def claim(range, holder="interface eth0", kind=INTERFACE):
    return Claim(ipaddress.ip_network(range), holder, kind)


def test_dockers_pools_come_first_and_in_its_order():
    made = []
    for pool in DOCKER_POOLS:
        made.append(network(free_subnet(made, [])))
        assert made[-1].subnets == (Subnet(pool, str(ipaddress.ip_network(pool)[1]), is_chosen=True),)
    assert free_subnet(made, []).subnet == "172.16.0.0/24"


def private_ranges():
    blocks = st.sampled_from(PRIVATE)
    return blocks.flatmap(
        lambda block: st.builds(
            lambda prefix, at: ipaddress.IPv4Network(
                (int(block.network_address) + at % block.num_addresses, prefix), strict=False
            ),
            st.integers(block.prefixlen, 32),
            st.integers(0, block.num_addresses - 1),
        )
    )


@given(st.lists(private_ranges(), max_size=60), st.lists(private_ranges(), max_size=20), st.integers(0, 5))
def test_a_free_subnet_meets_neither_networks_nor_claims(networks, claims, skipped):
    made = [network(Subnet(str(one), "")) for one in networks]
    try:
        found = free_subnet(made, [claim(one) for one in claims], skipped)
    except ConflictError:
        return
    assert found.is_chosen
    assert not any(found.range.overlaps(one) for one in [*networks, *claims])
    assert any(found.range.subnet_of(block) for block in PRIVATE)


def test_smaller_subnets_follow_where_the_large_ones_are_used_up():
    whole = [claim("10.0.0.0/8"), claim("172.16.0.0/12")]
    assert (
        free_subnet([], [*whole, claim("192.168.0.0/17"), claim("192.168.128.0/17")][:3]).subnet == "192.168.128.0/20"
    )
    every_20 = [claim(f"192.168.{n}.0/26") for n in range(0, 256, 16)]
    assert free_subnet([], [*whole, *every_20]).subnet == "192.168.1.0/24"
    every_24 = [claim(f"192.168.{n}.0/26") for n in range(256)]
    assert free_subnet([], [*whole, *every_24]).subnet == "192.168.0.64/26"


def test_when_nothing_is_left_the_error_says_who_has_it_and_what_to_do():
    made = [network(Subnet("172.16.0.0/13", "")), network(Subnet("172.24.0.0/13", ""))]
    taken = [
        claim("192.168.0.0/16", "interface wlan0"),
        claim("10.0.0.0/8", "the route 10.0.0.0/8 over interface tun0"),
    ]
    with pytest.raises(ConflictError, match=r"2 subnets, .*10\.0\.0\.0/8: the route .*tun0; .*wlan0") as refused:
        free_subnet(made, taken)
    assert "prune" in refused.value.hint
    assert "subnet:" in refused.value.hint


def test_the_halves_of_everything_that_a_vpn_routes_are_no_place():
    halves = [claim("0.0.0.0/1"), claim("128.0.0.0/1")]
    assert free_subnet([], halves).subnet == "172.17.0.0/16"


@pytest.mark.parametrize(
    ("range", "kind", "meets_named", "meets_chosen"),
    [
        ("172.20.0.0/16", BRIDGE, True, True),
        ("172.20.0.0/16", INTERFACE, True, True),
        ("172.20.0.0/16", ROUTE, True, True),
        ("172.20.5.0/24", BRIDGE, True, True),
        ("172.20.5.0/24", INTERFACE, True, True),
        ("172.20.5.0/24", ROUTE, True, True),
        ("172.0.0.0/8", BRIDGE, True, True),
        ("172.0.0.0/8", INTERFACE, False, True),
        ("172.0.0.0/8", ROUTE, False, False),
        ("172.21.0.0/16", BRIDGE, False, False),
        ("fd00::/8", BRIDGE, False, False),
    ],
)
def test_a_conflict_is_what_the_kernel_could_send_elsewhere(range, kind, meets_named, meets_chosen):
    other = claim(range, kind=kind)
    for is_chosen, meets in ((False, meets_named), (True, meets_chosen)):
        found = conflict(Subnet("172.20.0.0/16", "172.20.0.1", is_chosen=is_chosen), [other])
        assert found == (other if meets else None)


def test_a_free_ipv6_subnet_is_unique_and_local():
    found = free_ipv6_subnet()
    assert found.range.subnet_of(ipaddress.ip_network("fd00::/8"))
    assert (found.range.prefixlen, found.is_chosen) == (64, True)
    assert found != free_ipv6_subnet()


def test_a_subnet_is_completed():
    assert complete_subnet(Subnet("10.9.0.0/24", ""), []).gateway == "10.9.0.1"
    assert complete_subnet(Subnet("fd00:9::/64", ""), []).gateway == "fd00:9::1"


@pytest.mark.parametrize(
    "wanted",
    [
        Subnet("10.9.0.1/24", ""),
        Subnet("nonsense", ""),
        Subnet("10.9.0.0/24", "10.8.0.1"),
        Subnet("10.9.0.0/24", "x"),
        Subnet("10.9.0.0/24", "", "10.8.0.0/28"),
        Subnet("10.9.0.0/24", "", "x"),
        Subnet("10.9.0.0/24", "", "", {"router": "10.8.0.9"}),
    ],
)
def test_a_subnet_that_can_not_be_is_refused(wanted):
    with pytest.raises(BadRequestError):
        complete_subnet(wanted, [])


def test_an_overlap_names_the_other_network():
    with pytest.raises(ForbiddenError, match="of network back"):
        complete_subnet(Subnet("10.9.1.0/24", ""), [network(Subnet("10.9.0.0/16", ""), name="back")])
