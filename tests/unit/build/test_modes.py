import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.build.errors import DockerfileError
from runtime.build.modes import changed_mode, directory_mode


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ("755", 0o600, 0o755),
        ("4755", 0o600, 0o4755),
        ("u=rwX,go=rX", stat.S_IFREG | 0o600, 0o644),
        ("u=rwX,go=rX", stat.S_IFDIR | 0o700, 0o755),
        ("+x", 0o644, 0o755),
        ("go-rwx", 0o777, 0o700),
        ("a=r", 0o777, 0o444),
        ("u+s", 0o755, 0o4755),
        ("ug+st", 0o755, 0o7755),
        ("g+t", 0o644, 0o1644),
        ("o+t", 0o644, 0o644),
    ],
)
def test_modes_change_as_chmod_says(change, before, after):
    assert changed_mode(change, before) == after


@pytest.mark.parametrize("change", ["", "999", "u=rwz", "rwx"])
def test_a_change_that_chmod_refuses_is_refused(change):
    with pytest.raises(DockerfileError):
        changed_mode(change, 0o644)


@pytest.mark.parametrize(
    ("change", "mode"),
    [("700", 0o700), ("0", 0), ("4755", 0o755), ("1777", 0o755), ("u=rwx,go=", 0o755), (None, 0o755)],
)
def test_directories_on_the_way_take_an_octal_mode_alone(change, mode):
    assert directory_mode(change) == mode


@given(st.integers(0, 0o7777), st.integers(0, 0o7777))
def test_an_octal_mode_replaces_all(new, old):
    assert changed_mode(f"{new:o}", old) == new
