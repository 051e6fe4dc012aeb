import pytest

from runtime.errors import BadRequestError
from runtime.network.ports import PortBinding, hold, holders_among


@pytest.mark.parametrize(
    ("host_ip", "wanted", "holder"),
    [
        ("", "", "web"),
        ("127.0.0.1", "", "web"),
        ("", "127.0.0.1", "web"),
        ("127.0.0.1", "127.0.0.2", None),
    ],
)
def test_two_bindings_meet_where_their_addresses_do(host_ip, wanted, holder):
    held = {"web": [PortBinding(80, "tcp", host_ip, 8080)]}
    assert holders_among(held, PortBinding(80, "tcp", wanted, 8080)) == holder
    assert holders_among(held, PortBinding(80, "udp", wanted, 8080)) is None


@pytest.mark.parametrize("binding", [PortBinding(80, "tcp", "::1", 0), PortBinding(80, "sctp", "", 0)])
def test_what_can_not_be_published_is_refused_with_the_reason(binding):
    with pytest.raises(BadRequestError) as refused:
        hold(binding)
    assert refused.value.hint
