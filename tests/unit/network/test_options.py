import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadRequestError
from runtime.network.options import BRIDGE, DEVICE_PREFIX, ENDPOINT, MTU, BridgeOptions, device_name, sysctls


def test_options_are_read():
    options = {
        MTU: "1400",
        DEVICE_PREFIX: "lan",
        f"{BRIDGE}name": "br7",
        f"{BRIDGE}enable_icc": "false",
        f"{BRIDGE}enable_ip_masquerade": "false",
        f"{BRIDGE}host_binding_ipv4": "127.0.0.1",
        f"{BRIDGE}inhibit_ipv4": "true",
    }
    assert BridgeOptions.of(options) == BridgeOptions(
        "br7", 1400, False, False, frozenset({4}), {4: "nat", 6: "nat"}, "127.0.0.1", "lan"
    )
    assert BridgeOptions.of({"com.example.unknown": "x"}) == BridgeOptions()


@pytest.mark.parametrize(
    "options",
    [
        {MTU: "big"},
        {MTU: "1"},
        {f"{BRIDGE}enable_icc": "perhaps"},
        {f"{BRIDGE}name": "a name"},
        {f"{BRIDGE}name": "x" * 16},
        {f"{BRIDGE}host_binding_ipv4": "localhost"},
        {f"{BRIDGE}gateway_mode_ipv4": "open"},
    ],
)
def test_options_that_can_not_be_are_refused_by_name(options):
    with pytest.raises(BadRequestError) as refused:
        BridgeOptions.of(options)
    assert next(iter(options)) in refused.value.message


def test_settings_of_an_interface_are_for_that_interface_only():
    key = f"{ENDPOINT}sysctls"
    assert sysctls({key: "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=0"}, "eth7") == {
        "net/ipv4/conf/eth7/log_martians": "1",
        "net/ipv6/conf/eth7/accept_ra": "0",
    }
    for text in ("kernel.panic=1", "net.ipv4.ip_forward=1", "net.ipv4.conf.IFNAME.x", "net.ipv4.conf.IFNAME.../x=1"):
        with pytest.raises(BadRequestError):
            sysctls({key: text}, "eth7")


@given(st.dictionaries(st.sampled_from([MTU, f"{BRIDGE}name", f"{BRIDGE}enable_icc", f"{ENDPOINT}ifname"]), st.text()))
def test_nothing_worse_than_a_refusal(options):
    with contextlib.suppress(BadRequestError):
        BridgeOptions.of(options)
    with contextlib.suppress(BadRequestError):
        assert len(device_name(options)) <= 15
