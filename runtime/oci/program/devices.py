"""Network devices that a container takes over (OCI runtime spec, config-linux.md, "Network Devices")."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import KernelError
from runtime.linux import netns
from runtime.linux.netlink import Netlink
from runtime.oci.program.errors import ProgramError


def move(devices: Mapping[str, Mapping[str, str]], pid: int) -> None:
    """Move `devices`, by their names here, into the network namespace of process `pid`, with their permanent addresses.

    Raises ProgramError, before anything has moved if a device does not exist here, or its name is taken there.
    """
    place = Path(f"/proc/{pid}/ns/net")
    namespace = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    here, there = Netlink(), netns.inside(place, Netlink)
    try:
        taken = {interface.name for interface in there.interfaces()}
        for name, settings in devices.items():
            if name not in {interface.name for interface in here.interfaces()}:
                raise ProgramError(
                    f"linux.netDevices: this machine has no network device {name}", "`ip link` lists them"
                )
            if new_name(name, settings) in taken:
                raise ProgramError(f"linux.netDevices: the container has a network device {new_name(name, settings)}")
        for name, settings in devices.items():
            try:
                _move(name, new_name(name, settings), here, there, namespace)
            except KernelError as error:
                reason = os.strerror(error.errno).lower()
                raise ProgramError(f"linux.netDevices: {name} can't be moved into the container: {reason}") from error
    finally:
        here.close()
        there.close()
        os.close(namespace)


def new_name(name: str, settings: Mapping[str, str]) -> str:
    """Return the device's name in the container; with "%d" the kernel chooses the number."""
    return settings.get("name") or name


def _move(name: str, wanted: str, here: Netlink, there: Netlink, namespace: int) -> None:
    index = here.index(name)
    addresses = here.permanent_addresses(index)
    before = {interface.index for interface in there.interfaces()}
    here.move(index, wanted, namespace)
    (moved,) = [interface.index for interface in there.interfaces() if interface.index not in before]
    for address in addresses:
        there.add_address(moved, address)
    there.up(moved)
