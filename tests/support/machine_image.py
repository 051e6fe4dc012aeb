"""The first memory disk of a virtual machine: busybox, the kernel modules in their order, and a script."""

import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.images import BUSYBOX

EARLY = ("virtio_pci", "9p", "9pnet_virtio", "overlay")
DISK = ("virtio_blk", "crc32c_generic", "ext4")
LATE = (
    "crc32c_generic", "loop", "bfq", "veth", "bridge", "dummy", "tun", "nfnetlink", "nf_tables", "nft_chain_nat",
    "nft_masq", "nft_nat", "nft_ct", "nft_fib_inet", "nf_conntrack_netlink",
)  # fmt: skip
"""What a distribution's module loader would load when it is asked for; the machine has none."""

SCRIPT = """#!/bin/busybox sh
b=/bin/busybox
fail() {{ $b echo "the machine could not start: $1"; $b poweroff -f; }}
$b mount -t proc proc /proc
for module in {modules}; do $b insmod /modules/$module.ko || fail "insmod $module"; done
share=trans=virtio,version=9p2000.L,msize=512000
$b mount -t 9p -o $share,ro,cache=loose host /host || fail "the host's files"
{written}
$b mkdir -p /written/upper /written/work
$b mount -t overlay -o lowerdir=/host,upperdir=/written/upper,workdir=/written/work overlay /root || fail overlay
$b mkdir -p /root{results}
$b mount -t 9p -o $share results /root{results} || fail "the results' folder"
for folder in /written/folders/*; do
    [ -d $folder ] || continue
    at=/root/$($b basename $folder | $b tr = /)
    $b mkdir -p $at && $b mount --bind $folder $at || fail $folder
done
exec $b switch_root /root {command}
"""


def initramfs(modules: Path, results: str, command: str, *, has_disk: bool = False) -> bytes:
    """Return a cpio archive whose init mounts the shares "host" (below a writable layer) and "results", and executes
    `command` from the host's files. `modules` is the kernel's folder of modules.

    With `has_disk`, what is written is on the machine's disk (ext4), whose `upper` is the writable layer. Its
    `folders/var=lib=x` is /var/lib/x itself, with no layers below: overlayfs takes no layer of another overlay.
    """
    order = _in_order(modules, (*EARLY, *(DISK if has_disk else ()), *LATE))
    written = (
        '$b mount -t ext4 /dev/vda /written || fail "its disk"' if has_disk else "$b mount -t tmpfs tmpfs /written"
    )
    if has_disk:
        written = f"$b mount -t devtmpfs dev /dev\n{written}"
    script = SCRIPT.format(modules=" ".join(order), results=results, command=command, written=written)
    archive = [_entry(name, stat.S_IFDIR | 0o755) for name in "bin modules proc host written root dev".split()]
    archive.append(_entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    archive.append(_entry("bin/busybox", stat.S_IFREG | 0o755, BUSYBOX.read_bytes()))
    archive += [
        _entry(f"modules/{name}.ko", stat.S_IFREG | 0o644, content.read_bytes()) for name, content in order.items()
    ]
    archive.append(_entry("init", stat.S_IFREG | 0o755, script.encode()))
    return b"".join([*archive, _entry("TRAILER!!!", 0)])


def _in_order(folder: Path, wanted: Iterable[str]) -> dict[str, Path]:
    """Return the modules `wanted` and all they depend on, each after what it needs."""
    files = {file.stem.replace("-", "_"): file for file in folder.rglob("*.ko")}
    order: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in files and name not in order:  # what has no file is built in
            for needed in _needs(files[name]):
                add(needed)
            order[name] = files[name]

    for name in wanted:
        add(name)
    return order


def _needs(module: Path) -> Iterator[str]:
    told = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    return (name.replace("-", "_") for name in told.group(1).decode().split(",") if name) if told else iter(())


def _entry(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """Return one file in the "newc" form (kernel Documentation/driver-api/early-userspace/buffer-format.rst)."""
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
