"""Moments of an engine's work, counted from outside: what it writes and makes on disk (inotify(7))."""

import ctypes
import os
import select
import struct

IN_MODIFY, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_CLOEXEC, IN_NONBLOCK = 0x2, 0x80, 0x100, 0x200, 0x80000, 0x800
PLACES = (
    "root/containers", "root/images", "root/layers", "root/networks", "root/tmp", "root/trash", "root/volumes", "run",
    "run/bundles", "run/endpoints", "run/netns",
)  # fmt: skip
EVENTS = IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_DELETE


class Moments:
    """Counts what happens below an engine's home, from now on."""

    def __init__(self, home):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.libc.inotify_init1(IN_CLOEXEC | IN_NONBLOCK)
        self.places = {}
        for place in PLACES:
            path = home.root.parent / place
            path.mkdir(parents=True, exist_ok=True)
            watch = self._watch(path)
            assert watch > 0, os.strerror(ctypes.get_errno())
            self.places[watch] = path

    def _watch(self, path):
        return self.libc.inotify_add_watch(self.descriptor, os.fsencode(path), EVENTS)

    def close(self):
        os.close(self.descriptor)

    def pending(self):
        """Return how many events there were that nobody has counted."""
        try:
            data = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return 0
        count, at = 0, 0
        while at < len(data):
            watch, mask, _, length = struct.unpack_from("=iIII", data, at)
            name = data[at + 16 : at + 16 + length].rstrip(b"\0")
            place = self.places.get(watch)
            if mask & IN_CREATE and place is not None and place.name in ("containers", "volumes"):
                # the object's record is in its own directory
                self._watch(place / os.fsdecode(name))
            count += name not in (b"engine.log", b"log.data", b"log.index")  # output is not a step
            at += 16 + length
        return count

    def during(self, process):
        """Return how many events there are until `process` ends."""
        count = 0
        ends = os.pidfd_open(process.pid)
        try:
            while not select.select([ends], [], [], 0.01)[0]:
                count += self.pending()
        finally:
            os.close(ends)
        return count + self.pending()

    def at(self, number, process, act):
        """Call `act` once there were `number` events; at the end of `process` when there are fewer."""
        ends = os.pidfd_open(process.pid)
        try:
            count = 0
            while count < number:
                ready = select.select([self.descriptor, ends], [], [], 60)[0]
                count += self.pending()
                if self.descriptor not in ready:
                    break
        finally:
            os.close(ends)
        act()
