"""Compiles the device rules of an OCI document to an eBPF program: cgroup version 2 has no device files. Pure.

The kernel runs the program whenever a process of the cgroup opens or creates a device node (kernel
Documentation/admin-guide/cgroup-v2.rst, "Device controller"). Of the rules that match the device, the last that names an
access (r, w or m) decides on it. An access that no rule names is allowed, as in a new cgroup of version 1.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from runtime.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.oci.types import OciDeviceRule

# <linux/bpf.h>: struct bpf_cgroup_dev_ctx and the bits of its access_type
TYPES = {"b": 1, "c": 2}
ACCESS = {"m": 1, "r": 2, "w": 4}
ANY_ACCESS = "rwm"
_ACCESS_TYPE, _MAJOR, _MINOR = 0, 4, 8

# <linux/bpf.h>, <linux/bpf_common.h>: operation codes
LOAD_WORD, MOVE, AND_K, SHIFT_RIGHT_K = 0x61, 0xBF, 0x57, 0x77
MOVE_K, JUMP, UNEQUAL_K, ANY_BIT_K, EXIT = 0xB7, 0x05, 0x55, 0x45, 0x95
# registers: the result, the context, and the fields loaded from it
_RESULT, _CONTEXT, _WANTED, _TYPE, _MAJOR_R, _MINOR_R = range(6)
HIGHEST_NUMBER = (1 << 31) - 1


def assemble(rules: Sequence[OciDeviceRule]) -> bytes:
    """Return the program of `linux.resources.devices`, eight bytes for each instruction (struct bpf_insn).

    Raises ValueError on a rule with an impossible type, device number or access.
    """
    program = [
        _instruction(LOAD_WORD, _WANTED, _CONTEXT, offset=_ACCESS_TYPE),
        _instruction(MOVE, _TYPE, _WANTED),
        _instruction(AND_K, _TYPE, value=0xFFFF),
        _instruction(SHIFT_RIGHT_K, _WANTED, value=16),
        _instruction(LOAD_WORD, _MAJOR_R, _CONTEXT, offset=_MAJOR),
        _instruction(LOAD_WORD, _MINOR_R, _CONTEXT, offset=_MINOR),
    ]
    # from the last rule to the first: _WANTED contains the accesses that no later rule has decided
    for rule in reversed(rules):
        decision = _allow(rule) if rule["allow"] else _deny(rule)
        conditions = _conditions(rule)
        for place, (register, number) in enumerate(conditions):
            rest = len(conditions) - place - 1 + len(decision)
            program.append(_instruction(UNEQUAL_K, register, offset=rest, value=number))
        program += decision
    return b"".join([*program, *_return(1)])


def _conditions(rule: OciDeviceRule) -> list[tuple[int, int]]:
    found = []
    kind = rule.get("type") or "a"
    if kind != "a":
        if kind not in TYPES:
            raise ValueError(f"device rule: type {kind!r} must be a, b or c")
        found.append((_TYPE, TYPES[kind]))
    for register, key, number in ((_MAJOR_R, "major", rule.get("major")), (_MINOR_R, "minor", rule.get("minor"))):
        if number is not None and number >= 0:
            if number > HIGHEST_NUMBER:
                raise ValueError(f"device rule: no device has {key} number {number}")
            found.append((register, number))
    return found


def _bits(rule: OciDeviceRule) -> int:
    bits = 0
    for letter in rule.get("access") or ANY_ACCESS:
        if letter not in ACCESS:
            raise ValueError(f"device rule: access {letter!r} must be r, w or m")
        bits |= ACCESS[letter]
    return bits


def _allow(rule: OciDeviceRule) -> list[bytes]:
    """Clear the rule's accesses in _WANTED; allow if none is left."""
    return [
        _instruction(AND_K, _WANTED, value=~_bits(rule)),
        _instruction(UNEQUAL_K, _WANTED, offset=len(_return(1)), value=0),
        *_return(1),
    ]


def _deny(rule: OciDeviceRule) -> list[bytes]:
    """Deny if one of the rule's accesses is in _WANTED."""
    return [
        _instruction(ANY_BIT_K, _WANTED, offset=1, value=_bits(rule)),
        _instruction(JUMP, offset=len(_return(0))),
        *_return(0),
    ]


def _return(result: int) -> list[bytes]:
    return [_instruction(MOVE_K, _RESULT, value=result), _instruction(EXIT)]


def _instruction(operation: int, target: int = 0, source: int = 0, *, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", operation, source << 4 | target, offset, value)
