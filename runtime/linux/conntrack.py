"""The kernel's connection tracking table: deletion of stale flows (linux/nfnetlink_conntrack.h)."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Collection, Iterator

from runtime.errors import KernelError
from runtime.linux.nfnetlink import (
    NFNL_SUBSYS_CTNETLINK,
    NLA_F_NESTED,
    Message,
    Nfnetlink,
    attribute,
    attributes_of,
    nested,
)

GET, DELETE = NFNL_SUBSYS_CTNETLINK << 8 | 1, NFNL_SUBSYS_CTNETLINK << 8 | 2
TUPLE_ORIGINAL, FILTER = 1, 25
TUPLE_PROTOCOL, PROTOCOL_NUMBER, DESTINATION_PORT = 2, 1, 3
FILTER_PROTOCOL, FILTER_DESTINATION_PORT = 1 << 3, 1 << 5


def forget_udp_flows(ports: Collection[int]) -> None:
    """Delete the UDP flows to `ports` of this machine, so that the next packet of each is translated by current rules.

    NAT rules apply to the first packet of a flow only, and the flow stays while packets come: those of a client that
    keeps sending would go to a container that no longer exists, or not to a new one.
    """
    link = Nfnetlink()
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            for port in ports:
                for flow in list(_udp_flows(link, family, port)):
                    message = Message(DELETE, family, attribute(TUPLE_ORIGINAL | NLA_F_NESTED, flow), 0, "forget flow")
                    with contextlib.suppress(KernelError):  # the flow has expired since it was listed
                        link.request(message)
    finally:
        link.close()


def _udp_flows(link: Nfnetlink, family: int, port: int) -> Iterator[bytes]:
    protocol = nested(
        TUPLE_PROTOCOL,
        attribute(PROTOCOL_NUMBER, bytes([socket.IPPROTO_UDP])),
        attribute(DESTINATION_PORT, struct.pack("!H", port)),
    )
    chosen = nested(FILTER, attribute(1, struct.pack("=I", FILTER_PROTOCOL | FILTER_DESTINATION_PORT)))
    narrow = nested(TUPLE_ORIGINAL, protocol) + chosen
    try:
        # kernels before 5.8 know no filter and give all there is; so what comes is looked at anyway
        for found in link.dump(Message(GET, family, narrow, 0, "list flows")):
            flow = attributes_of(found).get(TUPLE_ORIGINAL, b"")
            inner = attributes_of(attributes_of(flow).get(TUPLE_PROTOCOL, b""))
            if inner.get(PROTOCOL_NUMBER) == b"\x11" and inner.get(DESTINATION_PORT) == struct.pack("!H", port):
                yield flow
    except KernelError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
