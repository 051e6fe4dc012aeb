"""Seccomp filters: the OCI configuration's rules, assembled to classic BPF (seccomp(2), kernel seccomp_filter.rst)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise

from runtime.hints import Any
from runtime.linux import syscall_table

# <linux/bpf_common.h>, <linux/filter.h>
LD_W_ABS, ALU_AND_K, JMP_JA, JMP_JEQ, JMP_JGT, JMP_JGE, RET_K = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x06
# struct seccomp_data: nr, arch, instruction_pointer, args[6]
OFFSET_NR, OFFSET_ARCH, OFFSET_ARGS, ARGUMENTS = 0, 4, 16, 6
X32_BIT = 0x40000000
ENOSYS, EPERM = 38, 1
LONGEST_PROGRAM = 4096

RET = {
    "SCMP_ACT_KILL": 0x00000000, "SCMP_ACT_KILL_THREAD": 0x00000000, "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000, "SCMP_ACT_ERRNO": 0x00050000, "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_NOTIFY": 0x7FC00000, "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_ALLOW": 0x7FFF0000,
}  # fmt: skip

NOTIFY = "SCMP_ACT_NOTIFY"
WITH_DATA = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
"""Actions that execute the system call: with one of these as default action, unknown calls are executed, too."""

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, operand; jumps count from the next instruction (struct sock_filter)."""


def assemble(
    filters: Mapping[str, Any], architectures: Mapping[int, Mapping[str, int]], *, has_listener: bool = False
) -> list[Instruction]:
    """Assemble the program for the OCI configuration's `linux.seccomp` (OCI runtime spec, "Seccomp").

    `architectures` maps each AUDIT_ARCH constant to system call numbers by name. A call of another architecture kills
    the process; calls of x32, which shares the constant of x86-64, fail with ENOSYS, as on kernels without x32. If the
    default action does not execute calls, those that the table lacks fail with ENOSYS, as on an older kernel, so that
    libraries fall back. Rules for calls that the table lacks are ignored. Raises ValueError for an unknown action or
    comparison, for one that needs a listener if there is none, and for a program that exceeds the kernel's limit.
    """
    _need_listener(filters, has_listener)
    default = _action(filters["defaultAction"], filters.get("defaultErrnoRet"))
    parts = [(architecture, _calls(filters, numbers, default)) for architecture, numbers in architectures.items()]
    program: list[Instruction] = [(LD_W_ABS, 0, 0, OFFSET_ARCH)]
    for architecture, calls in parts:
        program += [(JMP_JEQ, 1, 0, architecture), (JMP_JA, 0, 0, len(calls)), *calls]
    program.append((RET_K, 0, 0, RET["SCMP_ACT_KILL_PROCESS"]))
    if len(program) > LONGEST_PROGRAM:
        raise ValueError(f"the seccomp filter has {len(program)} instructions, the kernel takes {LONGEST_PROGRAM}")
    return program


def _calls(filters: Mapping[str, Any], numbers: Mapping[str, int], default: int) -> list[Instruction]:
    """Return the part of the program for one architecture; all its paths end with a return instruction."""
    plain: dict[int, int] = {}
    conditional: dict[int, list[tuple[Sequence[Mapping[str, Any]], int]]] = {}
    for rule in filters.get("syscalls") or ():
        action = _action(rule["action"], rule.get("errnoRet"))
        for name in rule["names"]:
            if name not in numbers:
                continue
            if rule.get("args"):
                conditional.setdefault(numbers[name], []).append((rule["args"], action))
            else:
                plain.setdefault(numbers[name], action)
    unknown = (RET_K, 0, 0, RET["SCMP_ACT_ERRNO"] | ENOSYS)
    program: list[Instruction] = [(LD_W_ABS, 0, 0, OFFSET_NR), (JMP_JGE, 0, 1, X32_BIT), unknown]
    for number, rules in sorted(conditional.items()):
        if number not in plain:
            body = [step for rule in rules for step in _conditions(*rule)]
            body.append((RET_K, 0, 0, default))
            program += [(JMP_JEQ, 1, 0, number), (JMP_JA, 0, 0, len(body)), *body]
    for low, high, action in _ranges(plain):
        program += [(JMP_JGE, 0, 2, low), (JMP_JGT, 1, 0, high), (RET_K, 0, 0, action)]
    if filters["defaultAction"] not in PERMISSIVE:
        known = _ranges(dict.fromkeys(numbers.values(), 0))
        for (_, before, _), (after, _, _) in pairwise([(0, -1, 0), *known, (X32_BIT, 0, 0)]):
            if after > before + 1:
                program += [(JMP_JGE, 0, 2, before + 1), (JMP_JGT, 1, 0, after - 1), unknown]
    program.append((RET_K, 0, 0, default))
    return program


def check(filters: Mapping[str, Any], *, has_listener: bool = False) -> None:
    """Raise ValueError if `filters` has an unknown action, comparison or argument.

    SCMP_ACT_NOTIFY is valid only with a listener.
    """
    _need_listener(filters, has_listener)
    _action(filters["defaultAction"], filters.get("defaultErrnoRet"))
    for rule in filters.get("syscalls") or ():
        _conditions(rule.get("args") or (), _action(rule["action"], rule.get("errnoRet")))


def _need_listener(filters: Mapping[str, Any], has_listener: bool) -> None:
    actions = [filters["defaultAction"], *(rule["action"] for rule in filters.get("syscalls") or ())]
    if NOTIFY in actions and not has_listener:
        raise ValueError(f"{NOTIFY} needs a listener")


def _action(name: str, errno: int | None) -> int:
    if name not in RET:
        raise ValueError(f"unknown seccomp action {name}")
    return RET[name] | ((EPERM if errno is None else errno) & 0xFFFF if name in WITH_DATA else 0)


def _ranges(actions: Mapping[int, int]) -> list[tuple[int, int, int]]:
    """Return ranges of consecutive numbers with the same action as (first, last, action)."""
    found: list[tuple[int, int, int]] = []
    for number, action in sorted(actions.items()):
        if found and found[-1][1] == number - 1 and found[-1][2] == action:
            found[-1] = (found[-1][0], number, action)
        else:
            found.append((number, number, action))
    return found


def _conditions(arguments: Sequence[Mapping[str, Any]], action: int) -> list[Instruction]:
    """Return code that returns `action` if all `arguments` match, else falls through."""
    steps: list[Instruction] = [(RET_K, 0, 0, action)]
    for argument in reversed(arguments):
        steps = _compare(argument, len(steps)) + steps
    return steps


def _compare(argument: Mapping[str, Any], rest: int) -> list[Instruction]:
    """Return code that continues if the 64-bit comparison is true, else jumps over `rest` further instructions."""
    if not 0 <= argument["index"] < ARGUMENTS:
        raise ValueError(f"a system call has no argument {argument['index']}")
    low_offset = OFFSET_ARGS + 8 * argument["index"]
    value, operator = argument["value"], argument["op"]
    low, high = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
    load_high, load_low = (LD_W_ABS, 0, 0, low_offset + 4), (LD_W_ABS, 0, 0, low_offset)
    if operator == "SCMP_CMP_EQ":
        return [load_high, (JMP_JEQ, 0, rest + 2, high), load_low, (JMP_JEQ, 0, rest, low)]
    if operator == "SCMP_CMP_NE":
        return [load_high, (JMP_JEQ, 0, 2, high), load_low, (JMP_JEQ, rest, 0, low)]
    if operator == "SCMP_CMP_MASKED_EQ":
        wanted = argument.get("valueTwo", 0)
        return [
            load_high, (ALU_AND_K, 0, 0, high), (JMP_JEQ, 0, rest + 3, wanted >> 32 & 0xFFFFFFFF),
            load_low, (ALU_AND_K, 0, 0, low), (JMP_JEQ, 0, rest, wanted & 0xFFFFFFFF),
        ]  # fmt: skip
    if operator in ("SCMP_CMP_GE", "SCMP_CMP_GT"):
        last = JMP_JGE if operator == "SCMP_CMP_GE" else JMP_JGT
        return [load_high, (JMP_JGT, 3, 0, high), (JMP_JEQ, 0, rest + 2, high), load_low, (last, 0, rest, low)]
    if operator in ("SCMP_CMP_LT", "SCMP_CMP_LE"):
        last = JMP_JGE if operator == "SCMP_CMP_LT" else JMP_JGT
        return [load_high, (JMP_JGT, rest + 3, 0, high), (JMP_JEQ, 0, 2, high), load_low, (last, rest, 0, low)]
    raise ValueError(f"unknown seccomp comparison {operator}")


def pack(program: Sequence[Instruction]) -> bytes:
    """Return `program` as an array of struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def compile_for_this_machine(filters: Mapping[str, Any]) -> bytes:
    """Return the packed program of `filters` for this machine's architectures."""
    return pack(assemble(filters, syscall_table.tables()))
