"""Trials for `skiff doctor`: each tries out a feature in a child in new namespaces, and cleans up."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from runtime.errors import reason_of
from runtime.image.mounted_layers import try_mount
from runtime.linux import nftables as nft
from runtime.linux import syscalls as linux
from runtime.linux.netlink import Netlink
from runtime.linux.nfnetlink import Nfnetlink
from runtime.oci import defaults
from runtime.oci.cgroup import Cgroups
from runtime.oci.overlay import mount_overlay

NAMESPACES = {
    "mount": linux.CLONE_NEWNS, "pid": linux.CLONE_NEWPID, "network": linux.CLONE_NEWNET, "uts": linux.CLONE_NEWUTS,
    "ipc": linux.CLONE_NEWIPC, "cgroup": linux.CLONE_NEWCGROUP,
}  # fmt: skip
BRIDGE, WIRE, OTHER_END, MAC = "skiff-doctor", "skiff-doctor1", "skiff-doctor2", "02:00:00:00:00:01"
_LOAD_ALLOW, _BPF_RETURN = (
    0x7FFF0000,
    0x06,
)  # <linux/seccomp.h>: SECCOMP_RET_ALLOW; <linux/bpf_common.h>: BPF_RET | BPF_K


def run_trial(action: Callable[[], None], enter: Callable[[], None] | None = None) -> str | None:
    """Run `action` in a child, after `enter`; return the error message, None if it succeeded."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        message = b""
        try:
            if enter is not None:
                enter()
            action()
        except BaseException as error:  # noqa: BLE001 - it is the result of the trial
            message = reason_of(error).encode()
        finally:
            os.write(writer, message or b"\0")
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        message = answer.read()
    os.waitpid(pid, 0)
    if message == b"\0":
        return None
    return message.decode(errors="replace") or "the trial was killed"


def namespace(kind: str) -> None:
    """Create a namespace of `kind`, a key of NAMESPACES."""
    linux.call("unshare", NAMESPACES[kind])


def whole_root() -> None:
    """Join our own mount namespace, as containers' processes do: that leaves a chroot (setns(2)), and must not change "/"."""
    before = _mount_id("/")
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    linux.call("setns", own, linux.CLONE_NEWNS)
    if _mount_id("/") != before:
        raise OSError(errno.EPERM, "this is a chroot")


def _mount_id(path: str) -> str:
    """Return the ID of the mount that `path` is on (proc_pid_fdinfo(5))."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    finally:
        os.close(descriptor)
    return next((line for line in lines if line.startswith("mnt_id:")), "")


def overlay(folder: Path) -> None:
    """Mount an overlay with layers in `folder`, in a new mount namespace, and write to it."""
    base = Path(tempfile.mkdtemp(prefix="skiff-doctor-", dir=folder))
    try:
        linux.call("unshare", linux.CLONE_NEWNS)
        linux.mount(None, "/", None, linux.MS_PRIVATE | linux.MS_REC)
        names = ("lower", "upper", "work", "merged")
        lower, upper, work, merged = (base / name for name in names)
        for one in (lower, upper, work, merged):
            one.mkdir()
        (lower / "below").write_text("below")
        mount_overlay(str(merged), [f"lowerdir+={lower}", f"upperdir={upper}", f"workdir={work}"])
        try:
            (merged / "below").unlink()  # creates a whiteout, which not every filesystem supports
            (merged / "above").write_text("above")
        finally:
            linux.umount2(str(merged), linux.MNT_DETACH)
    finally:
        shutil.rmtree(base)


def mounted_layer(folder: Path) -> None:
    """Mount the archive of a layer with an index in `folder`, in a new mount namespace, and read it."""
    base = Path(tempfile.mkdtemp(prefix="skiff-doctor-", dir=folder))
    try:
        linux.call("unshare", linux.CLONE_NEWNS)
        linux.mount(None, "/", None, linux.MS_PRIVATE | linux.MS_REC)
        try_mount(base)
    finally:
        shutil.rmtree(base)


def interfaces() -> None:
    """Create a bridge and a veth pair connected to it, in a new network namespace."""
    linux.call("unshare", linux.CLONE_NEWNET)
    link = Netlink()
    link.add_bridge(BRIDGE)
    with open("/proc/self/ns/net") as here:
        link.add_veth(WIRE, link.index(BRIDGE), OTHER_END, MAC, here.fileno())


def address_translation() -> None:
    """Create an nftables table with all kinds of chains and rules needed for NAT, in a new network namespace."""
    linux.call("unshare", linux.CLONE_NEWNET)
    table = nft.Table(nft.INET, BRIDGE)
    Nfnetlink().batch(
        [
            table.create(),
            table.base_chain("arriving", "nat", nft.PREROUTING, nft.DSTNAT),
            table.base_chain("leaving", "nat", nft.POSTROUTING, nft.SRCNAT),
            table.rule("arriving", nft.to_this_machine()),
            table.rule("leaving", nft.translated_connection(), nft.masquerade()),
            table.delete(),
        ]
    )


def system_call_filter() -> None:
    """Install a seccomp filter that allows everything."""
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.install_filter(struct.pack("<HBBI", _BPF_RETURN, 0, 0, _LOAD_ALLOW))


def device_rules(path: str) -> None:
    """Create cgroup `path` with the default device rules, and remove it."""
    cgroups = Cgroups()
    try:
        cgroups.create(path, {"devices": list(defaults.DEVICE_RULES)})
    finally:
        cgroups.remove(path)
