"""What a container runtime could leave behind on a machine, seen from outside Skiff."""

import json
import os
import subprocess
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from runtime.paths import Paths


@dataclass(frozen=True)
class Residue:
    """The kernel objects and processes of one moment, each as a set of identities."""

    processes: frozenset[str]
    mounts: frozenset[str]
    links: frozenset[str]
    nftables: frozenset[str]
    cgroups: frozenset[str]
    namespaces: frozenset[str]

    def since(self, before: "Residue") -> dict[str, list[str]]:
        """What is here now and was not `before`; empty when nothing was left."""
        found = {
            field.name: sorted(getattr(self, field.name) - getattr(before, field.name)) for field in fields(Residue)
        }
        return {name: values for name, values in found.items() if values}


def look(root: Path) -> Residue:
    """Record what is on the machine of the engine at `root`, by its names: others may come and go at the same time.

    A namespace is held by a process or by a pin, which is a mount below the engine's directories.
    """
    name = f"skiff-{Paths(root, root).engine_id}"
    processes = _processes(root)
    return Residue(
        processes=processes,
        mounts=frozenset(point for point in _mounts() if point.startswith(f"{root.parent}/")),
        links=frozenset(_links(Paths(root, root).engine_id)),
        nftables=frozenset(table for table in _tables() if name in table),
        cgroups=frozenset(_cgroups(name)),
        namespaces=frozenset(_namespaces({line.split()[0] for line in processes})),
    )


def look_at_everything(root: Path) -> Residue:
    """Record the whole machine, but for processes that are not the engine's at `root`; nothing else may run."""
    every = {folder.name for folder in Path("/proc").glob("[0-9]*")}
    return Residue(
        processes=_processes(root),
        mounts=frozenset(_mounts()),
        links=frozenset(link["ifname"] for link in _json("ip", "-j", "link")),
        nftables=frozenset(_tables()),
        cgroups=frozenset(_cgroups(f"skiff-{Paths(root, root).engine_id}")),
        namespaces=frozenset(_namespaces(every)),
    )


def _links(engine_id: str) -> set[str]:
    """Bridges of the engine (by their alias), devices that it is about to name or to remove (by their group), and ports."""
    links = _json("ip", "-j", "-d", "-N", "link")
    going = int(engine_id, 16) & 0x7FFFFFFF | 0x40000000
    groups = {str(going), str(going ^ 0x20000000)}
    ours = {
        link["ifname"]
        for link in links
        if link.get("ifalias", "").startswith(f"skiff-{engine_id} ") or str(link.get("group")) in groups
    }
    return ours | {link["ifname"] for link in links if link.get("master") in ours}


def _json(*command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout or "[]")


def _tables():
    for item in _json("nft", "-j", "list", "tables")["nftables"]:
        if "table" in item:
            yield f"{item['table']['family']} {item['table']['name']}"


def _mounts():
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        yield line.split()[4]


def _cgroups(name):
    for base, folders, _ in os.walk("/sys/fs/cgroup"):
        for folder in folders:
            if name in base or name in folder:
                yield os.path.join(base, folder)


def _processes(root):
    """Processes that carry the state root in their environment or command line: engine, keeper, forks too."""
    needle, group = str(root).encode(), f"skiff-{Paths(root, root).engine_id}"
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        try:
            told = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            cgroup = (folder / "cgroup").read_text()
        except OSError:
            continue
        if needle in told or group in cgroup:
            name = told.replace(b"\0", b" ")[-200:].decode(errors="replace") if needle in told else cgroup
            found.add(f"{folder.name} {name}")
    return frozenset(found)


def _namespaces(processes):
    for folder in (Path("/proc") / number for number in processes):
        if _awaits_its_burial(folder):
            continue
        for kind in ("net", "pid", "mnt", "uts", "ipc"):
            try:
                yield os.readlink(folder / "ns" / kind)
            except OSError:
                continue


def _awaits_its_burial(folder):
    """Whether a process is dead and the machine's own init has yet to reap it: nothing but its number is left."""
    try:
        _, _, about = (folder / "stat").read_text().rpartition(")")
    except OSError:
        return True
    state, parent, *_ = about.split()
    return state == "Z" and parent == "1"


def describe(residue: Residue) -> str:
    """Return the whole of it as text, for a failing test's message."""
    return json.dumps({name: sorted(values) for name, values in asdict(residue).items()}, indent=1)
