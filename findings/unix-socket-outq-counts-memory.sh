#!/bin/sh
# Linux 6.18 by plain Python (3.11), no package; seen 2026-11-29.
#
# What happens: SIOCOUTQ on a Unix socket says how much of what was sent the peer has not read, as on TCP, though unix(7)
# knows SIOCINQ alone. But it counts the kernel's memory, not bytes: one byte is 768, a thousand more are 2,304, and
# reading the first byte takes 768 off again. Looking with MSG_PEEK takes nothing off. Only zero means what one thinks:
# the peer has read everything, or is gone.
#
# What it means for us: runtime/api/connection.py asks only whether it is zero (a hijacked answer's head was read), never
# how many bytes are left; a bound on unread output could not be had from it.
set -eu

python3 - <<'PYTHON'
import fcntl
import socket
import struct
import sys
import termios

ours, peers = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def unread():
    return struct.unpack("i", fcntl.ioctl(ours, termios.TIOCOUTQ, bytes(4)))[0]


seen = [unread()]
ours.send(b"x")
seen.append(unread())
peers.recv(1, socket.MSG_PEEK)
seen.append(unread())
ours.send(b"y" * 1000)
seen.append(unread())
peers.recv(1)
seen.append(unread())
peers.recv(5000)
seen.append(unread())
ours.send(b"z")
peers.close()
seen.append(unread())
for what, value in zip(("at first", "1 byte sent", "peeked at", "1,001 sent", "1 read", "all read", "closed"), seen):
    print(f"{what:12} {value:6}")
sys.exit(0 if seen == [0, 768, 768, 3072, 2304, 0, 0] else "this has changed")
PYTHON
