"""What the default filter answers to system calls, made by number as programs of each ABI make them."""

import json
import os
import subprocess
import sys

import pytest

EPERM, ENOSYS = 1, 38

# how 32-bit programs call: mov eax, NUMBER; int 0x80; ret (a 64-bit process may do so, too)
PROBE = """
import ctypes, json, mmap, os, struct, sys
from runtime.linux import seccomp, syscalls
from runtime.oci import defaults
asked = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
enter = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

def native(number):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
    return -ctypes.get_errno() if result == -1 else result

def compat(number):
    page[:8] = b"\\xb8" + struct.pack("<I", number) + b"\\xcd\\x80\\xc3"
    return enter()

syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
syscalls.install_filter(seccomp.compile_for_this_machine(defaults.seccomp(defaults.CAPABILITIES)))
print(json.dumps([os.getpid(), *({"native": native, "compat": compat}[abi](number) for abi, number in asked)]))
"""

CALLS = [
    ("native", 39, None),  # getpid
    ("native", 250, -EPERM),  # keyctl: known and denied
    ("native", 165, -EPERM),  # mount
    ("native", 435, -ENOSYS),  # clone3: the filter can't see its flags
    ("native", 400, -ENOSYS),  # between those of x86-64 and those of all architectures
    ("native", 468, -ENOSYS),  # newer than the table
    ("native", 1000, -ENOSYS),
    ("native", 0x40000000 | 39, -ENOSYS),  # x32's getpid
    ("native", 0x40000000 | 250, -ENOSYS),
    ("native", 0x40000000 | 520, -ENOSYS),  # x32's own execve
    ("compat", 20, None),  # getpid
    ("compat", 288, -EPERM),  # keyctl
    ("compat", 21, -EPERM),  # mount
    ("compat", 222, -ENOSYS),  # never given out
    ("compat", 468, -ENOSYS),
    ("compat", 1000, -ENOSYS),
]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
def test_known_calls_that_are_denied_answer_eperm_and_unknown_ones_enosys():
    asked = json.dumps([(abi, number) for abi, number, _ in CALLS])
    probe = subprocess.run([sys.executable, "-c", PROBE, asked], capture_output=True, text=True, check=True)
    pid, *answers = json.loads(probe.stdout)
    expected = [pid if answer is None else answer for *_, answer in CALLS]
    assert dict(zip(CALLS, answers, strict=True)) == dict(zip(CALLS, expected, strict=True))
