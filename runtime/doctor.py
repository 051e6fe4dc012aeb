"""`skiff doctor`: what this machine offers to the engine, what is missing, and the exact cure.

Run as `python -m runtime.doctor [--json]`; needs no running engine. Exit status 0 when stacks can run, 1 when something
they need is missing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.paths import Paths

NEEDED, WANTED = "missing", "limited"
SOCKET_PATH_BYTES = 107  # unix(7): sun_path is 108 bytes with its NUL
DISK_FLOOR_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `state` is "ok", "limited" (works, with less) or "missing" (stacks can't run)."""

    subject: str
    state: str
    detail: str
    cure: str | None = None


def examine(paths: Paths) -> list[Finding]:
    """Return everything found, in the order in which a start would meet it."""
    return [finding for check in (_system, _state, _kernel, _cgroups, _network, _images) for finding in check(paths)]


def _verdict(subject: str, holds: bool, detail: str, otherwise: str, cure: str, state: str = NEEDED) -> Finding:
    return Finding(subject, "ok", detail) if holds else Finding(subject, state, otherwise, cure)


def _system(_: Paths) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    yield _verdict(
        "kernel",
        platform.system() == "Linux" and numbers >= (5, 12),
        release,
        f"{platform.system()} {release}",
        "Skiff needs Linux 5.12 or newer (mount API, pidfd, clone3): upgrade the kernel",
    )
    yield _verdict(
        "user",
        os.geteuid() == 0,
        "root: the rootful engine",
        f"uid {os.geteuid()}: no root",
        "run as root; this version has no rootless engine yet",
    )


def _state(paths: Paths) -> Iterator[Finding]:
    for what, folder in (("state root", paths.root), ("run directory", paths.run)):
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        yield _verdict(
            what,
            os.access(existing, os.W_OK | os.X_OK),
            str(folder),
            f"{folder}: {existing} can't be written",
            "choose another directory with --root or $SKIFF_ROOT and $SKIFF_RUN",
        )
        if what == "state root":
            free = shutil.disk_usage(existing).free
            yield _verdict(
                "disk space",
                free >= DISK_FLOOR_BYTES,
                f"{free / (1 << 30):.1f} GiB free under {existing}",
                f"{free / (1 << 20):.0f} MiB free under {existing}",
                "free some: `skiff image rm IMAGE`, or move the state with --root",
                WANTED,
            )
    length = len(os.fsencode(paths.engine_socket))
    yield _verdict(
        "socket path",
        length <= SOCKET_PATH_BYTES,
        str(paths.engine_socket),
        f"{paths.engine_socket} has {length} bytes, a unix socket's path at most {SOCKET_PATH_BYTES}",
        "set $SKIFF_RUN to a shorter directory",
    )


def _kernel(_: Paths) -> Iterator[Finding]:
    offered = {entry.name for entry in Path("/proc/self/ns").iterdir()}
    lacking = [kind for kind in ("mnt", "pid", "net", "uts", "ipc", "cgroup") if kind not in offered]
    yield _verdict(
        "namespaces",
        not lacking,
        "mount, pid, network, uts, ipc, cgroup",
        f"none of kind {', '.join(lacking)}",
        "use a kernel built with CONFIG_NAMESPACES and all its kinds",
    )
    yield _verdict(
        "overlayfs",
        _filesystem("overlay"),
        "offered by the kernel",
        "not offered by the kernel",
        "`modprobe overlay`, or use a kernel with CONFIG_OVERLAY_FS",
    )
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    yield _verdict(
        "seccomp",
        actions.exists(),
        "filters",
        "no seccomp filters",
        "use a kernel with CONFIG_SECCOMP_FILTER; without it containers need `security_opt: [seccomp=unconfined]`",
        WANTED,
    )


def _cgroups(_: Paths) -> Iterator[Finding]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    offered: set[str] = set()
    for _device, point, kind, options, *_rest in mounts:
        if kind == "cgroup":
            offered.update(options.split(","))
        elif kind == "cgroup2":
            offered.update((Path(point) / "cgroup.controllers").read_text().split())
    version = "v2" if not any(fields[2] == "cgroup" for fields in mounts) else "v1"
    for controller, what in (("memory", "memory limits"), ("cpu", "CPU limits"), ("pids", "process limits")):
        yield _verdict(
            f"cgroup {controller}",
            controller in offered,
            f"{version}: {what}",
            f"the {controller} controller is not there: {what} would be refused",
            f"boot with `cgroup_enable={controller}`, or mount the controller",
            WANTED,
        )


def _network(_: Paths) -> Iterator[Finding]:
    for module, what in (("veth", "pairs of interfaces"), ("bridge", "networks"), ("nf_tables", "address translation")):
        yield _verdict(
            module,
            _module(module),
            what,
            f"the kernel has no {module}: no {what}",
            f"`modprobe {module}`, or use a kernel that has it",
        )
    resolvers = [
        line.split()[1]
        for line in _lines("/etc/resolv.conf")
        if line.startswith("nameserver") and len(line.split()) > 1
    ]
    yield _verdict(
        "name servers",
        bool(resolvers),
        ", ".join(resolvers),
        "/etc/resolv.conf names none: containers resolve only each other",
        "add a `nameserver` line to /etc/resolv.conf",
        WANTED,
    )


def _images(_: Paths) -> Iterator[Finding]:
    found = shutil.which("mmdebstrap")
    yield _verdict(
        "mmdebstrap",
        found is not None,
        found or "",
        "not found: `skiff image bootstrap` can't make Debian images",
        "where no registry can be reached: `apt-get install mmdebstrap`",
        WANTED,
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _filesystem(name: str) -> bool:
    return any(line.split()[-1] == name for line in _lines("/proc/filesystems")) or _module(name)


def _module(name: str) -> bool:
    """Whether the kernel has module `name`: loaded, loadable, or built in (the last leaves a trace only sometimes)."""
    if Path("/sys/module", name).exists():
        return True
    listed = Path("/lib/modules") / platform.release()
    if not listed.exists():
        # a kernel without loadable modules: what it has is built in, and only use can tell
        return True
    return any(f"/{name}.ko" in line for kind in ("dep", "builtin") for line in _lines(str(listed / f"modules.{kind}")))


def main() -> None:
    """Print the findings as a table, or as JSON with `--json`; exit 1 when something needed is missing."""
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
