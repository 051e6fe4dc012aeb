"""bpf(2), for the device programs of cgroups (BPF_PROG_TYPE_CGROUP_DEVICE)."""

from __future__ import annotations

import ctypes
import os
import struct

from runtime.linux import syscalls as linux

# <linux/bpf.h>
BPF_PROG_LOAD, BPF_PROG_ATTACH = 5, 8
BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE = 15, 6
BPF_F_ALLOW_MULTI = 2
INSTRUCTION_BYTES = 8


def load_device_program(program: bytes) -> int:
    """Load `program` (an array of struct bpf_insn), which the kernel verifies; return its descriptor."""
    instructions = ctypes.create_string_buffer(program, len(program))
    license = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "<IIQQ",
        BPF_PROG_TYPE_CGROUP_DEVICE,
        len(program) // INSTRUCTION_BYTES,
        ctypes.addressof(instructions),
        ctypes.addressof(license),
    )
    return linux.call("bpf", BPF_PROG_LOAD, attributes, len(attributes))


def attach_device_program(cgroup: int, program: int) -> None:
    """Attach `program` to the cgroup whose directory is open as `cgroup`, in addition to those of its ancestors.

    It stays attached as long as the cgroup exists.
    """
    attributes = struct.pack("<IIII", cgroup, program, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI)
    linux.call("bpf", BPF_PROG_ATTACH, attributes, len(attributes))


def confine_devices(directory: str, program: bytes) -> None:
    """Load `program` and attach it to the version 2 cgroup at `directory`."""
    loaded = load_device_program(program)
    try:
        cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attach_device_program(cgroup, loaded)
        finally:
            os.close(cgroup)
    finally:
        os.close(loaded)
