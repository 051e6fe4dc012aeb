"""The assembler of seccomp filters, held to an interpreter of classic BPF and to what the rules say in plain words."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.linux import seccomp, syscall_table

NATIVE, FOREIGN = 0xC000003E, 0x40000003
NUMBERS = {NATIVE: {f"call{n}": n for n in range(12)} | {"far": 300}, FOREIGN: {f"call{n}": 40 - n for n in range(12)}}
NAMES = [*NUMBERS[NATIVE], "unknown"]
# values that meet at the borders of 32 bits
VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, 0x7E020000, (1 << 64) - 1]),
    st.integers(0, (1 << 64) - 1),
)
OPERATORS = {
    "SCMP_CMP_EQ": lambda a, v, _: a == v,
    "SCMP_CMP_NE": lambda a, v, _: a != v,
    "SCMP_CMP_LT": lambda a, v, _: a < v,
    "SCMP_CMP_LE": lambda a, v, _: a <= v,
    "SCMP_CMP_GT": lambda a, v, _: a > v,
    "SCMP_CMP_GE": lambda a, v, _: a >= v,
    "SCMP_CMP_MASKED_EQ": lambda a, v, two: a & v == two,
}
ACTIONS = [name for name in seccomp.RET if name not in ("SCMP_ACT_KILL_THREAD",)]


def run(program, architecture, number, arguments):
    """Interpret the program as the kernel does (filter(7) of struct seccomp_data); return its value."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments)
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x05:
            at += operand
        elif code in (0x15, 0x25, 0x35):
            holds = {0x15: accumulator == operand, 0x25: accumulator > operand, 0x35: accumulator >= operand}[code]
            at += if_true if holds else if_false
        elif code == 0x06:
            return operand
        else:
            raise AssertionError(f"{code:#x} is no instruction that seccomp knows")


def value(action, errno):
    return seccomp.RET[action] | (
        (1 if errno is None else errno) & 0xFFFF if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else 0
    )


def expected(filters, architecture, number, arguments):
    """What the OCI document says of a call."""
    default = value(filters["defaultAction"], filters.get("defaultErrnoRet"))
    if architecture not in NUMBERS:
        return seccomp.RET["SCMP_ACT_KILL_PROCESS"]
    numbers = NUMBERS[architecture]
    unknown = seccomp.RET["SCMP_ACT_ERRNO"] | 38
    if number >= 0x40000000:  # x32
        return unknown
    rules = [
        rule for rule in filters["syscalls"] if any(numbers.get(name) == number for name in rule["names"])
    ]  # fmt: skip
    for rule in rules:
        if not rule.get("args"):
            return value(rule["action"], rule.get("errnoRet"))
    for rule in rules:
        if all(OPERATORS[a["op"]](arguments[a["index"]], a["value"], a.get("valueTwo", 0)) for a in rule["args"]):
            return value(rule["action"], rule.get("errnoRet"))
    if number not in numbers.values() and filters["defaultAction"] not in seccomp.PERMISSIVE:
        return unknown
    return default


arguments = st.builds(
    lambda index, number, two, operator: {"index": index, "value": number, "valueTwo": two, "op": operator},
    st.integers(0, 5), VALUES, VALUES, st.sampled_from(list(OPERATORS)),
)  # fmt: skip
rules = st.builds(
    lambda names, action, errno, args: {"names": names, "action": action, "errnoRet": errno, "args": args},
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
    st.sampled_from(ACTIONS), st.one_of(st.none(), st.integers(0, 4095)), st.lists(arguments, max_size=3),
)  # fmt: skip
documents = st.builds(
    lambda action, errno, found: {"defaultAction": action, "defaultErrnoRet": errno, "syscalls": found},
    st.sampled_from(ACTIONS), st.one_of(st.none(), st.integers(0, 4095)), st.lists(rules, max_size=6),
)  # fmt: skip
calls = st.tuples(
    st.sampled_from([NATIVE, FOREIGN, 0xC00000B7]),
    st.one_of(st.integers(0, 60), st.sampled_from([300, 301, 0x3FFFFFFF, 0x40000000, 0x40000001, 0xFFFFFFFF])),
    st.lists(VALUES, min_size=6, max_size=6),
)


# an example asks up to 20 calls; the borders have tests of their own below
@settings(max_examples=200)
@given(documents, st.lists(calls, min_size=1, max_size=20))
def test_a_program_decides_as_its_document_says(document, asked):
    program = seccomp.assemble(document, NUMBERS, has_listener=True)
    for architecture, number, args in asked:
        assert run(program, architecture, number, args) == expected(document, architecture, number, args)


@settings(max_examples=100)
@given(documents)
def test_every_jump_stays_inside_and_every_path_ends(document):
    program = seccomp.assemble(document, NUMBERS, has_listener=True)
    for at, (code, if_true, if_false, operand) in enumerate(program):
        assert 0 <= if_true <= 255
        assert 0 <= if_false <= 255
        assert 0 <= operand <= 0xFFFFFFFF
        if code != 0x06:  # all but "return" go on, none past the end
            assert at + 1 + max(if_true, if_false, operand if code == 0x05 else 0) < len(program)
    assert len(seccomp.pack(program)) == 8 * len(program)


def test_a_comparison_of_an_argument_decides_at_its_borders():
    for operator in OPERATORS:
        for bound in (0, 0xFFFFFFFF, 1 << 32, (1 << 64) - 1):
            rule = {
                "names": ["call1"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 2, "value": bound, "op": operator}],
            }
            document = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}
            program = seccomp.assemble(document, NUMBERS, has_listener=True)
            for given_value in {max(0, bound - 1), bound, min(bound + 1, (1 << 64) - 1)}:
                args = [0, 0, given_value, 0, 0, 0]
                assert run(program, NATIVE, 1, args) == expected(document, NATIVE, 1, args)


@pytest.mark.parametrize(
    "document",
    [
        {"defaultAction": "SCMP_ACT_NOTIFY"},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["call1"], "action": "allow"}]},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["call1"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_IN"}]}
            ],
        },
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["call1"], "action": "SCMP_ACT_LOG", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}
            ],
        },
    ],
)
def test_what_no_filter_can_say_is_refused(document):
    with pytest.raises(ValueError, match=r"unknown|no argument|needs a listener"):
        seccomp.assemble(document, NUMBERS)
    with pytest.raises(ValueError, match=r"unknown|no argument|needs a listener"):
        seccomp.check(document)


def test_a_filter_longer_than_the_kernel_takes_is_refused():
    args = [{"index": 0, "value": number, "op": "SCMP_CMP_EQ"} for number in range(5)]
    rule = {"names": ["call1"], "action": "SCMP_ACT_LOG", "args": args}
    with pytest.raises(ValueError, match="instructions"):
        seccomp.assemble({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] * 400}, NUMBERS)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_table_names_each_number_once_and_has_what_all_architectures_share(machine):
    for architecture, numbers in syscall_table.tables(machine).items():
        aliases = {84} if machine == "aarch64" else set()  # one number has the names of two argument orders
        found = [number for number in numbers.values() if number not in aliases]
        assert len(found) == len(set(found)), architecture
        assert {name: numbers[name] for name in ("pidfd_open", "clone3", "openat2", "mseal")} == {
            "pidfd_open": 434, "clone3": 435, "openat2": 437, "mseal": 462,
        }  # fmt: skip


def test_the_tables_agree_with_the_kernel_headers_where_they_are_installed():
    known = {
        0xC000003E: "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        0x40000003: "/usr/include/x86_64-linux-gnu/asm/unistd_32.h",
    }
    tables = syscall_table.tables("x86_64")
    for architecture, path in known.items():
        try:
            with open(path) as file:
                lines = [line.split() for line in file if line.startswith("#define __NR_")]
        except FileNotFoundError:
            pytest.skip("linux-libc-dev is not installed")
        header = {words[1].removeprefix("__NR_"): int(words[2]) for words in lines}
        assert {name: tables[architecture].get(name) for name in header} == header
