import pytest

from runtime.errors import BadRequestError, ConflictError, ForbiddenError
from runtime.network.addresses import check_hardware_address, choose_address, link_local
from runtime.network.model import Network, Subnet


def network(*subnets, name="front"):
    return Network("id", name, "bridge", "", subnets)


def test_addresses_come_in_order_from_the_range_and_leave_out_what_is_reserved():
    front = network(Subnet("10.9.0.0/24", "10.9.0.1", "10.9.0.0/29", {"router": "10.9.0.3"}))
    used = set()
    for expected in ("10.9.0.2", "10.9.0.4", "10.9.0.5", "10.9.0.6"):
        assert choose_address(front, 4, "", used) == f"{expected}/24"
        used.add(expected)
    with pytest.raises(ConflictError, match="no available IPv4 addresses on this network's address pools") as refused:
        choose_address(front, 4, "", used)
    assert "10.9.0.0/29" in refused.value.hint
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
        ("10.9.0.0", (), ForbiddenError),
        ("10.9.0.255", (), ForbiddenError),
    ):
        with pytest.raises(error):
            choose_address(front, 4, wanted, used)
    with pytest.raises(BadRequestError, match="no configured subnet"):
        choose_address(front, 6, "fd00::2", ())
    assert choose_address(front, 6, "", ()) == ""
    assert choose_address(network(Subnet("10.9.0.0/31", "")), 4, "10.9.0.1", ()) == "10.9.0.1/31"


@pytest.mark.parametrize("text", ["", "02:42", "03:42:ac:11:00:02", "02:42:ac:11:00:0g", "02:42:ac:11:00:02:07"])
def test_a_hardware_address_that_can_not_be_is_refused(text):
    with pytest.raises(BadRequestError):
        check_hardware_address(text)


def test_addresses_of_hardware_and_link_are_read():
    assert check_hardware_address("02-42-AC-11-00-02") == "02:42:ac:11:00:02"
    assert (link_local("169.254.8.8"), link_local("fe80::8")) == ("169.254.8.8/16", "fe80::8/64")
    with pytest.raises(BadRequestError):
        link_local("10.0.0.1")
