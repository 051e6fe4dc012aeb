"""User namespaces (user_namespaces(7))."""

from __future__ import annotations

import os

EVERY_ID = ["0", "0", "4294967295"]
HIGHEST_GROUP = (1 << 31) - 1
"""The highest that sysctls of groups take."""
_maps_every_id: dict[int, bool] = {}
"""By user namespace: a map is written once and never changes (user_namespaces(7))."""


def is_initial() -> bool:
    """Whether this process is in the initial user namespace, where root is the machine's own."""
    namespace = os.stat("/proc/self/ns/user").st_ino
    if namespace not in _maps_every_id:
        with open("/proc/self/uid_map") as file:
            words = file.read().split()
        if not words:  # nobody has written the map yet
            return False
        _maps_every_id[namespace] = words == EVERY_ID
    return _maps_every_id[namespace]


def has_one_user() -> bool:
    """Whether this process's user namespace has a single user."""
    with open("/proc/self/uid_map") as file:
        return sum(int(line.split()[2]) for line in file) == 1


def highest_group() -> int:
    """Return the highest group that this process's user namespace has, which has them without a gap."""
    with open("/proc/self/gid_map") as file:
        return min(sum(int(line.split()[2]) for line in file) - 1, HIGHEST_GROUP)
