"""Checks of what an engine without root needs of the machine (user_namespaces(7))."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.doctor.findings import NEEDED, WANTED, Finding, verdict
from runtime.errors import SkiffError
from runtime.rootless import pasta
from runtime.rootless.namespaces import cure_of_ranges, make, mapping

LOW_PORTS = 1024
REFUSALS = (
    (
        "kernel/unprivileged_userns_clone", "0",
        "`sysctl -w kernel.unprivileged_userns_clone=1`",
    ),
    (
        "user/max_user_namespaces", "0",
        "`sysctl -w user.max_user_namespaces=15000`",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns", "1",
        "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or an AppArmor profile with `userns` for the Python "
        "that runs Skiff",
    ),
)  # fmt: skip
"""(sysctl below /proc/sys, value that forbids user namespaces, cure as root)."""
KEPT = "as root; a file in /etc/sysctl.d makes it permanent"


def before_namespaces() -> Iterator[Finding]:
    """Yield the findings about subordinate IDs."""
    wanted = mapping(os.getuid(), os.getgid())
    yield verdict(
        "user ranges",
        not wanted.lack,
        f"{sum(row.count for row in wanted.uids)} users, {sum(row.count for row in wanted.gids)} groups",
        f"{wanted.lack}: containers have only the user root",
        cure_of_ranges(os.getuid()),
        WANTED,
    )


@contextmanager
def namespaces() -> Iterator[tuple[Callable[[], None] | None, Finding]]:
    """Create namespaces like the engine's; yield (function to enter them, None if that failed; finding)."""
    with tempfile.TemporaryDirectory(prefix="skiff-doctor-") as scratch:
        try:
            made = make(mapping(os.getuid(), os.getgid()), Path(scratch) / "net")
        except SkiffError as error:
            yield None, Finding("user namespace", NEEDED, error.message, error.hint and _cure(error.hint))
            return
        try:
            yield made.join, Finding("user namespace", "ok", "users, mounts and network of its own (tried)")
        finally:
            made.close()


def _cure(otherwise: str) -> str:
    for name, refusing, cure in REFUSALS:
        if _setting(name) == refusing:
            return f"{cure} {KEPT}"
    if otherwise and "doctor" not in otherwise:
        return otherwise
    return "use a kernel with CONFIG_USER_NS; inside a container, allow it to create user namespaces; leave a chroot"


def no_cgroups(version: int) -> Finding:
    """Return the finding for a user without a delegated cgroup."""
    cure = "boot with `systemd.unified_cgroup_hierarchy=1`: with version 1 nothing is delegated"
    if version == 2:
        cure = (
            "start the engine in a delegated one: `skiff engine stop`, then "
            "`systemd-run --user --scope -p Delegate=yes skiff engine start`"
        )
    lost = "none is delegated to this user: limits are ignored, with a warning, and containers can't be paused"
    return Finding("cgroups", WANTED, f"version {version}: {lost}", cure)


def around_network() -> Iterator[Finding]:
    """Yield the findings about connections from and to the engine's network namespace."""
    lack = pasta.lack()
    yield verdict(
        "way out",
        lack is None,
        "pasta",
        f"{lack[0] if lack else ''}: containers can reach each other, but not the outside",
        lack[1] if lack else "",
        WANTED,
    )
    yield from _session()
    lowest = int(_setting("net/ipv4/ip_unprivileged_port_start") or LOW_PORTS)
    yield verdict(
        "low ports",
        lowest <= 1,
        "all can be published",
        f"ports below {lowest} can't be published",
        f"`sysctl -w net.ipv4.ip_unprivileged_port_start=0` {KEPT}; or publish higher ones",
        WANTED,
    )


def _session() -> Iterator[Finding]:
    """Yield the finding about a run directory that logind removes at logout (loginctl(1), enable-linger)."""
    session = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    if not Path("/run/systemd/system").is_dir() or not os.path.isdir(session):
        return
    name = pwd.getpwuid(os.getuid()).pw_name
    yield verdict(
        "session",
        Path("/var/lib/systemd/linger", name).exists(),
        "the run directory stays when the user logs out",
        f"{session} is removed when the user logs out, with the engine's sockets",
        f"`loginctl enable-linger {name}`",
        WANTED,
    )


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""
