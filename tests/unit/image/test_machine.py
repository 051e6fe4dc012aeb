import pytest

from runtime.image.machine import best, emulator, level, why_not
from runtime.image.manifest import Platform

TWO = "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
THREE = f"{TWO} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"
HANDLER = "enabled\ninterpreter /usr/libexec/qemu-binfmt/x\nflags: {}\noffset 0\n"


@pytest.mark.parametrize(
    ("flags", "found"),
    [("fpu sse2", 1), (TWO, 2), (THREE, 3), (THREE.replace("sse4_2", ""), 1), (f"{THREE} avx512f", 3),
     (f"{THREE} avx512f avx512bw avx512cd avx512dq avx512vl", 4)],
)  # fmt: skip
def test_a_processor_has_the_highest_level_of_which_it_has_all(flags, found):
    assert level(flags.split()) == found


def test_what_runs_here_is_this_machine_and_what_is_emulated(tmp_path):
    assert best().architecture == Platform.host().architecture
    assert why_not(Platform.host(), tmp_path) is None
    assert why_not(Platform("linux", ""), tmp_path) is None
    foreign = Platform.parse("linux/s390x")
    assert "qemu-user-static" in why_not(foreign, tmp_path)
    for text, runs in (
        (HANDLER.format("OCF"), True),
        (HANDLER.format("OC"), False),  # the interpreter is looked for in the container, which has none
        (HANDLER.format("F").replace("enabled", "disabled"), False),
    ):
        (tmp_path / "qemu-s390x").write_text(text)
        assert (why_not(foreign, tmp_path) is None) == runs
    (tmp_path / "qemu-aarch64").write_text(HANDLER.format("F"))
    assert emulator("arm64", tmp_path) == "qemu-aarch64"
    assert "build on a machine of windows" in why_not(Platform.parse("windows/amd64"), tmp_path)
