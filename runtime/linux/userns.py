"""User namespaces (user_namespaces(7))."""

from __future__ import annotations

import os

EVERY_ID = ["0", "0", "4294967295"]
HIGHEST_GROUP = (1 << 31) - 1
"""The highest GID that sysctls accept."""
OVERFLOW_ID = 65534
"""The UID and GID that stat(2) shows for one that is not mapped (/proc/sys/kernel/overflowuid)."""
_maps_every_id: dict[int, bool] = {}
"""Results by user namespace: a map can be written once only (user_namespaces(7))."""


def is_initial() -> bool:
    """Whether this process is in the initial user namespace."""
    namespace = os.stat("/proc/self/ns/user").st_ino
    if namespace not in _maps_every_id:
        with open("/proc/self/uid_map") as file:
            words = file.read().split()
        if not words:  # the map has not been written yet
            return False
        _maps_every_id[namespace] = words == EVERY_ID
    return _maps_every_id[namespace]


def has_one_user() -> bool:
    """Whether this process's user namespace maps a single user."""
    with open("/proc/self/uid_map") as file:
        return sum(int(line.split()[2]) for line in file) == 1


def highest_group() -> int:
    """Return the highest GID of this process's user namespace; its GIDs are assumed to be contiguous from 0."""
    with open("/proc/self/gid_map") as file:
        return min(sum(int(line.split()[2]) for line in file) - 1, HIGHEST_GROUP)
