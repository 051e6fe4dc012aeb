"""The device rules of a document and the eBPF program made of them decide the same."""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.oci import defaults
from runtime.oci import device_filter as bpf

NUMBERS = st.sampled_from([0, 1, 2, 5, 136, 254, bpf.HIGHEST_NUMBER])
ACCESSES = st.sets(st.sampled_from("rwm"), min_size=1).map(lambda letters: "".join(sorted(letters)))
RULES = st.lists(
    st.fixed_dictionaries(
        {"allow": st.booleans()},
        optional={
            "type": st.sampled_from(["a", "b", "c", ""]),
            "major": st.one_of(st.just(-1), NUMBERS),
            "minor": st.one_of(st.just(-1), NUMBERS),
            "access": ACCESSES,
        },
    ),
    max_size=12,
)


def decides(rules, kind, major, minor, access):
    """Whether the rules allow the access, as their description says it: an access at a time, the last rule first."""

    def fits(rule):
        return (
            rule.get("type") in (None, "", "a", kind)
            and rule.get("major", -1) in (-1, major)
            and rule.get("minor", -1) in (-1, minor)
        )

    for letter in access:
        naming = [rule["allow"] for rule in rules if fits(rule) and letter in rule.get("access", "rwm")]
        if naming and not naming[-1]:
            return False
    return True


def run(program, kind, major, minor, access):
    """Interpret the program with a context of the kernel's form (struct bpf_cgroup_dev_ctx); returns R0."""
    wanted = sum(bpf.ACCESS[letter] for letter in access)
    context = struct.pack("<III", wanted << 16 | bpf.TYPES[kind], major, minor)
    registers = [0] * 11
    at = 0
    for _ in range(len(program)):  # no jump goes back: each instruction runs once at most
        operation, both, offset, value = struct.unpack_from("<BBhi", program, at * 8)
        target, source = both & 15, both >> 4
        at += 1
        if operation == bpf.LOAD_WORD:
            (registers[target],) = struct.unpack_from("<I", context, offset)
        elif operation == bpf.MOVE:
            registers[target] = registers[source]
        elif operation == bpf.MOVE_K:
            registers[target] = value
        elif operation == bpf.AND_K:
            registers[target] &= value & 0xFFFF_FFFF_FFFF_FFFF
        elif operation == bpf.SHIFT_RIGHT_K:
            registers[target] >>= value
        elif operation == bpf.JUMP:
            at += offset
        elif operation == bpf.UNEQUAL_K:
            at += offset * (registers[target] != value)
        elif operation == bpf.ANY_BIT_K:
            at += offset * bool(registers[target] & value)
        elif operation == bpf.EXIT:
            return registers[0]
        else:
            raise AssertionError(f"operation {operation:#x} is not one of the program's")
    raise AssertionError("the program runs on past its end")


@settings(max_examples=200)
@given(RULES, st.sampled_from("bc"), NUMBERS, NUMBERS, ACCESSES)
@example([{"allow": False}, {"allow": True, "access": "r"}], "c", 1, 3, "rw")
@example([{"allow": True, "access": "r"}, {"allow": True, "access": "w"}], "c", 1, 3, "rw")
def test_the_program_decides_as_the_rules_do(rules, kind, major, minor, access):
    assert run(bpf.assemble(rules), kind, major, minor, access) == decides(rules, kind, major, minor, access)


@pytest.mark.parametrize(
    ("kind", "major", "minor", "access", "allowed"),
    [
        ("c", 1, 3, "rw", True),
        ("c", 136, 7, "rw", True),
        ("b", 254, 0, "m", True),
        ("b", 254, 0, "r", False),
        ("c", 10, 200, "rw", True),
        ("c", 10, 229, "rw", False),
        ("c", 1, 1, "r", False),
    ],
)
def test_the_default_rules_leave_the_default_devices(kind, major, minor, access, allowed):
    assert run(bpf.assemble(defaults.DEVICE_RULES), kind, major, minor, access) == allowed


@pytest.mark.parametrize("rule", [{"type": "p"}, {"access": "x"}, {"major": 1 << 31}], ids=["type", "access", "number"])
def test_a_rule_that_can_not_be_is_refused(rule):
    with pytest.raises(ValueError, match="device rule"):
        bpf.assemble([{"allow": True, **rule}])
