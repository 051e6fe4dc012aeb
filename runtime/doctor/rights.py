"""What an engine of root needs besides being root: in a container or a chroot, root may lack it."""

from __future__ import annotations

from typing import NamedTuple

from runtime.doctor import trials
from runtime.linux import capability

NEEDED = (
    "CAP_SYS_ADMIN",
    "CAP_NET_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
)
"""Without one of these no container can be started."""


class Lack(NamedTuple):
    """What is missing, and what to do about it."""

    what: str
    cure: str


def lack_of_rights() -> Lack | None:
    """Return what this process, which is root, may not do; None if it may do everything that is needed."""
    held = capability.permitted()
    missing = [name for name in NEEDED if not held >> capability.NUMBERS[name] & 1]
    if missing:
        return Lack(
            f"root has no {', '.join(missing)} here, as in a container that is not privileged",
            "run that container with `--privileged` (`privileged: true`); or use the engine outside of it: mount its "
            "socket, and name it with $DOCKER_HOST",
        )
    return None


def lack_of_root() -> Lack | None:
    """Return that "/" is a chroot, None where it is the root of the mount namespace."""
    failure = trials.run_trial(trials.whole_root)
    if failure is None:
        return None
    return Lack(
        f"the root directory can't be kept when a mount namespace is joined: {failure}",
        "start Skiff outside of the chroot; or make it a root of its own: pivot_root(8), `systemd-nspawn`, or "
        "`unshare --mount` and `switch_root`",
    )
