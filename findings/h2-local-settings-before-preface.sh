#!/bin/sh
# h2 4.4.1 (hpack 4.2.0, hyperframe 6.1.0), seen 2026-11-29.
#
# What happens: a setting that is changed in `local_settings` before `initiate_connection` is not in the SETTINGS frame
# that opens the connection; the frame carries the default. When the peer acknowledges that frame, h2 takes the changed
# value for agreed. With a larger INITIAL_WINDOW_SIZE the two sides then count differently: the peer stops after 65,535
# bytes of a stream, and h2, which believes in megabytes, sends no WINDOW_UPDATE although everything was acknowledged as
# read. The stream stands still for good, without an error on either side.
# `update_settings` after `initiate_connection` sends the value and works.
#
# What it means for us: runtime/buildkit/http2.py sets its window with update_settings after initiate_connection; a build
# context of more than 64 KB stood still before. A test sends more than a window in small messages.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q h2==4.4.1 hpack==4.2.0 hyperframe==6.1.0

cat >"$work/see.py" <<'PYTHON'
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived
from h2.settings import SettingCodes

WINDOW = 4 << 20


def moved(*, before):
    """Return how many bytes of one stream reach a server that acknowledges all it gets, of 1 MB that a client has."""
    client, server = H2Connection(H2Configuration(client_side=True)), H2Connection(H2Configuration(client_side=False))
    if before:
        server.local_settings.update({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        server.initiate_connection()
    else:
        server.initiate_connection()
        server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
    server.increment_flow_control_window(WINDOW)  # the connection's own window is no part of this
    client.initiate_connection()
    left, received = 1 << 20, 0
    begun = False
    for _ in range(1000):
        for event in server.receive_data(client.data_to_send()):
            if isinstance(event, DataReceived):
                received += len(event.data)
                server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        client.receive_data(server.data_to_send())
        if not begun:
            begun = True
            client.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x")])
        room = min(client.local_flow_control_window(1), client.max_outbound_frame_size, left)
        if room > 0:
            client.send_data(1, bytes(room))
            left -= room
    return received


early, late = moved(before=True), moved(before=False)
print(f"changed in local_settings before initiate_connection: {early:,} of 1,048,576 bytes arrive")
print(f"sent with update_settings after it:                    {late:,} of 1,048,576 bytes arrive")
sys.exit(0 if (early, late) == (65535, 1 << 20) else "this has changed")
PYTHON
"$work/venv/bin/python" "$work/see.py"
