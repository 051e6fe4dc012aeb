#!/bin/sh
# docker (docker-py) 7.2.0 with requests 2.32.5 and urllib3 2.6.2, Python's http.client; seen 2026-11-29.
#
# What happens: for execs and attachments the answer's connection is "hijacked": after the head, raw bytes follow. docker-py
# has http.client read the head, through a buffered reader, and then reads the socket itself, past that buffer. Bytes that
# arrive in one piece with the head stay in the buffer: `exec_start` returns b"" and no error for output that was sent.
# Nothing in HTTP or in the Docker Engine API says that an answer's body must come later than its head.
#
# What it means for us: an engine that is fast, or a client that is slow to look, loses the output of short commands. So
# runtime/api/connection.py waits until the kernel says that the head was read (SIOCOUTQ) before the first output follows.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q docker==7.2.0 requests==2.32.5 urllib3==2.6.2

cat >"$work/see.py" <<'PYTHON'
import socket
import struct
import sys
import threading
import time

import docker

OUTPUT = b"what the command printed\n"
HEAD = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
FRAME = struct.pack(">BxxxL", 1, len(OUTPUT)) + OUTPUT


def serve(listener, together):
    peer, _ = listener.accept()
    with peer:
        request = b""
        while b"\r\n\r\n" not in request:
            request += peer.recv(65536)
        if together:
            peer.sendall(HEAD + FRAME)
        else:
            peer.sendall(HEAD)
            time.sleep(0.5)  # the client has read the head by then
            peer.sendall(FRAME)


def said(folder, together):
    path = f"{folder}/{int(together)}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        threading.Thread(target=serve, args=(listener, together), daemon=True).start()
        client = docker.APIClient(base_url=f"unix://{path}", version="1.43")
        return client.exec_start("an-exec")


apart, together = said(sys.argv[1], False), said(sys.argv[1], True)
print(f"output after the head:      {apart!r}")
print(f"output together with it:    {together!r}")
sys.exit(0 if (apart, together) == (OUTPUT, b"") else "this has changed")
PYTHON
"$work/venv/bin/python" "$work/see.py" "$work"
