import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadRequestError, ConflictError, ForbiddenError
from runtime.network.addresses import (
    POOLS,
    check_hardware_address,
    choose_address,
    complete_subnet,
    free_subnet,
    link_local,
)
from runtime.network.model import Network, Subnet


def network(*subnets, name="front"):
    return Network("id", name, "bridge", "", subnets)


def test_pools_do_not_meet_each_other():
    ranges = [ipaddress.ip_network(pool) for pool in POOLS]
    assert all(not one.overlaps(other) for at, one in enumerate(ranges) for other in ranges[at + 1 :])


@given(st.sets(st.sampled_from(POOLS), max_size=len(POOLS) - 1), st.sets(st.sampled_from(POOLS), max_size=3))
def test_a_free_subnet_meets_neither_networks_nor_routes(networks, routes):
    if len(networks | routes) == len(POOLS):
        return
    made = [network(Subnet(pool, "")) for pool in networks]
    found = ipaddress.ip_network(free_subnet(made, [ipaddress.IPv4Network(pool) for pool in routes]).subnet)
    assert not any(found.overlaps(ipaddress.ip_network(pool)) for pool in networks | routes)


def test_when_all_pools_are_used_the_error_says_what_to_do():
    with pytest.raises(ConflictError, match="fully subnetted") as refused:
        free_subnet([network(Subnet(pool, "")) for pool in POOLS], [])
    assert "prune" in refused.value.hint
    assert "subnet:" in refused.value.hint


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


def test_addresses_come_in_order_from_the_range_and_leave_out_what_is_reserved():
    front = network(Subnet("10.9.0.0/24", "10.9.0.1", "10.9.0.0/29", {"router": "10.9.0.3"}))
    used = set()
    for expected in ("10.9.0.2", "10.9.0.4", "10.9.0.5", "10.9.0.6"):
        assert choose_address(front, 4, "", used) == f"{expected}/24"
        used.add(expected)
    with pytest.raises(ConflictError, match=r"no available addresses in 10\.9\.0\.0/29") as refused:
        choose_address(front, 4, "", used)
    assert refused.value.hint
    assert choose_address(front, 4, "10.9.0.200", used) == "10.9.0.200/24"


def test_a_second_subnet_is_used_when_the_first_is_full_or_when_it_has_the_wanted_address():
    front = network(Subnet("10.9.0.0/30", "10.9.0.1"), Subnet("10.10.0.0/24", "10.10.0.1"))
    assert choose_address(front, 4, "", {"10.9.0.2"}) == "10.10.0.2/24"
    assert choose_address(front, 4, "10.10.0.77", ()) == "10.10.0.77/24"
    assert front.gateway_of("10.10.0.77/24") == "10.10.0.1"


def test_a_wanted_address_is_given_only_when_it_can_be():
    front = network(Subnet("10.9.0.0/24", "10.9.0.1"))
    for wanted, used, error in (
        ("10.8.0.1", (), BadRequestError),
        ("x", (), BadRequestError),
        ("10.9.0.1", (), ForbiddenError),
        ("10.9.0.5", ("10.9.0.5",), ForbiddenError),
    ):
        with pytest.raises(error):
            choose_address(front, 4, wanted, used)
    with pytest.raises(BadRequestError, match="no configured subnet"):
        choose_address(front, 6, "fd00::2", ())
    assert choose_address(front, 6, "", ()) == ""


@pytest.mark.parametrize("text", ["", "02:42", "03:42:ac:11:00:02", "02:42:ac:11:00:0g", "02:42:ac:11:00:02:07"])
def test_a_hardware_address_that_can_not_be_is_refused(text):
    with pytest.raises(BadRequestError):
        check_hardware_address(text)


def test_addresses_of_hardware_and_link_are_read():
    assert check_hardware_address("02-42-AC-11-00-02") == "02:42:ac:11:00:02"
    assert (link_local("169.254.8.8"), link_local("fe80::8")) == ("169.254.8.8/16", "fe80::8/64")
    with pytest.raises(BadRequestError):
        link_local("10.0.0.1")
