"""`skiff doctor`: checks what the engine needs of the machine, with a cure for each finding.

Features are tried out if that costs little (`runtime.doctor.trials`), instead of being derived from what the kernel
reports; without root, in namespaces like the engine's.

Run as `python -m runtime.doctor [--json]`; needs no running engine. The exit status is 0 if stacks can run, 1 if a required
feature is missing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from runtime.container.resources import features
from runtime.doctor import rights, trials, unprivileged
from runtime.doctor.findings import NEEDED, WANTED, Finding, verdict
from runtime.oci.cgroup import Cgroups
from runtime.paths import Paths

SOCKET_PATH_BYTES = 107  # unix(7): sun_path is 108 bytes with its NUL
DISK_FLOOR_BYTES = 1 << 30

LIMITS = (
    ("memory", "memory limits", "memory", "memory"),
    ("swap", "limits on swap", "memory", "memory"),
    ("cpu_quota", "CPU limits", "cpu", "cpu"),
    ("cpu_shares", "CPU shares", "cpu", "cpu"),
    ("cpuset", "choice of CPUs", "cpuset", "cpuset"),
    ("pids", "process limits", "pids", "pids"),
    ("io_throttle", "block I/O limits", "blkio", "io"),
    ("io_weight", "block I/O weights", "blkio", "io"),
)
"""(feature of `runtime.container.resources`, its description, its controller in cgroup version 1, and in version 2)."""


def examine(paths: Paths) -> list[Finding]:
    """Return all findings, in the order in which a start would need the features."""
    if os.geteuid() == 0:
        return [
            finding
            for check in (_system, _rights, _state, _records, _kernel, _cgroups, _network, _images)
            for finding in check(paths)
        ]
    found = [*_system(paths), *_state(paths), *_records(paths), *unprivileged.before_namespaces()]
    with unprivileged.namespaces() as (inside, namespace):
        found.append(namespace)
        if inside is not None:
            found += [finding for check in (_kernel, _network) for finding in check(paths, inside)]
    return [*found, *_cgroups(paths), *unprivileged.around_network(), *_images(paths)]


def _system(_: Paths) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    yield verdict(
        "kernel",
        platform.system() == "Linux" and numbers >= (5, 12),
        release,
        f"{platform.system()} {release}",
        "Skiff needs Linux 5.12 or newer (mount API, pidfd, clone3): upgrade the kernel",
    )
    uid = os.geteuid()
    yield Finding("user", "ok", "root" if uid == 0 else f"uid {uid}: the engine runs in its own user namespace")


def _rights(_: Paths) -> Iterator[Finding]:
    lack = rights.lack_of_rights()
    yield verdict("rights", lack is None, "all that are needed", lack.what if lack else "", lack.cure if lack else "")
    chroot = None if lack else rights.lack_of_root()
    if chroot is not None:
        yield Finding("root directory", NEEDED, chroot.what, chroot.cure)


def _state(paths: Paths) -> Iterator[Finding]:
    for what, folder in (("state root", paths.root), ("run directory", paths.run)):
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        yield verdict(
            what,
            os.access(existing, os.W_OK | os.X_OK),
            str(folder),
            f"{folder}: {existing} is not writable",
            "choose another directory with --root or $SKIFF_ROOT and $SKIFF_RUN",
        )
        if what == "state root":
            free = shutil.disk_usage(existing).free
            yield verdict(
                "disk space",
                free >= DISK_FLOOR_BYTES,
                f"{free / (1 << 30):.1f} GiB free under {existing}",
                f"{free / (1 << 20):.0f} MiB free under {existing}",
                "free some: `skiff image rm IMAGE`, or move the state with --root",
                WANTED,
            )
    length = len(os.fsencode(paths.engine_socket))
    yield verdict(
        "socket path",
        length <= SOCKET_PATH_BYTES,
        str(paths.engine_socket),
        f"{paths.engine_socket} has {length} bytes, but a unix socket's path has at most {SOCKET_PATH_BYTES}",
        "set $SKIFF_RUN to a shorter directory",
    )


def _records(paths: Paths) -> Iterator[Finding]:
    """Yield files in the state root that can't be used; the engine ignores them, and deletes none."""
    from runtime.store import Store

    if paths.root.is_dir() and os.access(paths.root, os.R_OK | os.X_OK):
        for problem in Store.survey(paths).problems:
            yield Finding("state", WANTED, f"{problem.path}: {problem.what}", problem.cure)


def _tried(
    subject: str,
    action: Callable[[], None],
    what: str,
    lost: str,
    cure: str,
    state: str = NEEDED,
    enter: Callable[[], None] | None = None,
) -> Iterator[Finding]:
    """Yield the result of running `action` in a child, after `enter`."""
    failure = trials.run_trial(action, enter)
    yield verdict(subject, failure is None, f"{what} (tried)", f"{lost}: {failure}", cure, state)


def _kernel(paths: Paths, enter: Callable[[], None] | None = None) -> Iterator[Finding]:
    failures = {kind: trials.run_trial(partial(trials.namespace, kind), enter) for kind in trials.NAMESPACES}
    refused = {kind: failure for kind, failure in failures.items() if failure is not None}
    yield verdict(
        "namespaces",
        not refused,
        f"{', '.join(trials.NAMESPACES)} (tried)",
        "; ".join(f"no {kind} namespace: {failure}" for kind, failure in refused.items()),
        "use a kernel with all kinds of CONFIG_NAMESPACES; inside a container, run that privileged",
    )
    folder = next(parent for parent in (paths.root, *paths.root.parents) if parent.exists())
    yield from _tried(
        "overlayfs",
        partial(trials.overlay, folder),
        f"layers under {folder}",
        f"no overlay can be mounted under {folder}",
        "`modprobe overlay`; or move the state with --root to a local filesystem, as ext4, xfs or btrfs, not an overlay"
        + ("" if enter is None else "; without root, use Linux 5.11 or newer"),
        enter=enter,
    )
    if enter is None:  # in a user namespace layers are always unpacked
        yield from _tried(
            "layers",
            partial(trials.mounted_layer, folder),
            "mounted from their archives",
            f"unpacked, as their archives can't be mounted under {folder}",
            "pulls and loads are faster with Linux 6.12 or newer, EROFS, and a state root on a local filesystem",
            WANTED,
        )
    yield from _tried(
        "seccomp",
        trials.system_call_filter,
        "filters",
        "no filter of system calls",
        "use a kernel with CONFIG_SECCOMP_FILTER; without it containers need `security_opt: [seccomp=unconfined]`",
        WANTED,
        enter,
    )


def _cgroups(paths: Paths) -> Iterator[Finding]:
    try:
        cgroups = Cgroups()
    except OSError:
        yield Finding(
            "cgroups",
            NEEDED,
            "no hierarchy is mounted",
            "`mount -t cgroup2 cgroup2 /sys/fs/cgroup`",
        )
        return
    version = 2 if cgroups.is_unified else 1
    where = cgroups.v2 if cgroups.is_unified else os.path.commonpath(list(cgroups.v1.values()))
    if not cgroups.are_ours:
        yield unprivileged.no_cgroups(version)
        return
    probe = f"/skiff-{paths.engine_id}-doctor/probe"
    failure = trials.run_trial(lambda: Cgroups().remove(_made(cgroups, probe)))
    yield verdict(
        "cgroups",
        failure is None,
        f"version {version}: {where} (tried)",
        f"version {version}: no cgroup can be created at {where}: {failure}",
        "remount it writable (`mount -o remount,rw`, with version 1 each hierarchy); inside a container, run that "
        "privileged with a cgroup namespace of its own",
    )
    if failure is not None:
        return
    offered = features(cgroups.offered(probe))
    for feature, what, *controllers in LIMITS:
        yield verdict(
            f"cgroup {feature.replace('_', ' ')}",
            feature in offered,
            what,
            f"no {what}: they are ignored, with a warning",
            _cure_of(feature, controllers[version - 1], cgroups),
            WANTED,
        )
    if os.geteuid() != 0:  # without root no device nodes can be created, so no rules are needed
        return
    yield from _tried(
        "device rules",
        partial(trials.device_rules, probe),
        "containers can be restricted to their devices",
        "containers can't be restricted to their devices",
        "use a kernel with CONFIG_CGROUP_BPF" if version == 2 else "`mount -t cgroup -o devices cgroup DIR`",
    )


def _made(cgroups: Cgroups, path: str) -> str:
    cgroups.create(path, {})
    return path


def _cure_of(feature: str, controller: str, cgroups: Cgroups) -> str:
    """Return the cure for a missing `controller`, by /proc/cgroups (cgroups(7))."""
    if feature == "swap" and "memory" in _controllers(cgroups):
        return "boot with `swapaccount=1`, or use a kernel with CONFIG_SWAP"
    rows = {fields[0]: fields for fields in map(str.split, _lines("/proc/cgroups")) if len(fields) == 4}
    row = rows.get("blkio" if controller == "io" else controller)
    if row is None:
        return f"use a kernel that has the {controller} controller"
    if row[3] == "0":
        return f"boot with `cgroup_enable={controller}`, without `cgroup_disable={controller}`"
    if controller in _controllers(cgroups):
        return "use a kernel that has this limit: its controller lacks it"
    if not cgroups.is_unified:
        return f"`mkdir DIR && mount -t cgroup -o {controller} cgroup DIR`"
    if row[1] != "0":
        return f"unmount version 1's {controller} hierarchy, or boot with `systemd.unified_cgroup_hierarchy=1`"
    return f"have it delegated: `systemctl edit user@.service`, with `Delegate={controller}` under [Service]"


def _controllers(cgroups: Cgroups) -> list[str]:
    """Return the available controllers: mounted ones, in version 2 those in cgroup.controllers."""
    if not cgroups.is_unified:
        return list(cgroups.v1)
    return " ".join(_lines(f"{cgroups.v2}/cgroup.controllers")).split()


def _network(_: Paths, enter: Callable[[], None] | None = None) -> Iterator[Finding]:
    yield from _tried(
        "interfaces",
        trials.interfaces,
        "a bridge and a veth pair",
        "no networks for containers",
        "`modprobe bridge veth`, or use a kernel with CONFIG_BRIDGE and CONFIG_VETH; until then use `network_mode: host`",
        enter=enter,
    )
    yield from _tried(
        "nftables",
        trials.address_translation,
        "address translation",
        "no published ports and no access to the outside from networks",
        "`modprobe nf_tables nft_chain_nat nft_masq nft_fib_inet nft_ct`, or use a kernel that has them",
        enter=enter,
    )
    resolvers = [
        line.split()[1]
        for line in _lines("/etc/resolv.conf")
        if line.startswith("nameserver") and len(line.split()) > 1
    ]
    yield verdict(
        "name servers",
        bool(resolvers),
        ", ".join(resolvers),
        "/etc/resolv.conf has none: containers can resolve only each other",
        "add a `nameserver` line to /etc/resolv.conf",
        WANTED,
    )


def _images(_: Paths) -> Iterator[Finding]:
    found = shutil.which("mmdebstrap")
    yield verdict(
        "mmdebstrap",
        found is not None,
        found or "",
        "not found: `skiff image bootstrap` can't create Debian images",
        "if no registry can be reached: `apt-get install mmdebstrap`",
        WANTED,
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def main() -> None:
    """Print the findings as a table, or as JSON with `--json`; exit with 1 if a required feature is missing."""
    paths = Paths.from_environment(os.environ, os.getuid())
    findings = examine(paths)
    if "--json" in sys.argv[1:]:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.subject) for finding in findings)
        for finding in findings:
            print(f"{finding.state:8}{finding.subject:{width}}  {finding.detail}")
            if finding.cure:
                print(f"{'':8}{'':{width}}  -> {finding.cure}")
    sys.exit(any(finding.state == NEEDED for finding in findings))


if __name__ == "__main__":
    main()
