"""Whether mounts made in advance are what a document asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.container.prefork_template import prefork_template
from runtime.oci.premade_mount import PremadeMount

HAS = prefork_template()
SETTINGS = {key: HAS[key] for key in ("maskedPaths", "readonlyPaths")}
POINTS = ("/proc", "/dev", "/sys/fs/cgroup")
elsewhere = st.lists(
    st.sampled_from(["/data", "/proc2", "/devices", "/sys", "/sys/fs", "/procedures/a"]).map(
        lambda path: {"destination": path, "type": "tmpfs"}
    )
)


@pytest.mark.parametrize("point", POINTS)
@given(before=elsewhere, after=elsewhere)
def test_mounts_elsewhere_do_not_matter(point, before, after):
    assert PremadeMount(point, HAS).fits([*before, *HAS["mounts"], *after], SETTINGS)


@pytest.mark.parametrize("point", POINTS)
@given(data=st.data())
def test_a_mount_that_is_missing_or_differs_does(point, data):
    tree = PremadeMount(point, HAS)
    changed = data.draw(st.sampled_from(tree.entries))
    other = data.draw(st.sampled_from([[], [{**changed, "options": [*changed["options"], "sync"]}]]))
    mounts = [one for mount in HAS["mounts"] for one in (other if mount == changed else [mount])]
    assert not tree.fits(mounts, SETTINGS)


@pytest.mark.parametrize("key", sorted(SETTINGS))
@given(data=st.data())
def test_proc_must_be_hidden_and_protected_alike(key, data):
    kept = data.draw(st.lists(st.sampled_from(SETTINGS[key]), unique=True).filter(lambda kept: kept != SETTINGS[key]))
    in_proc = [path for path in SETTINGS[key] if path.startswith("/proc/")]
    is_alike = [path for path in kept if path.startswith("/proc/")] == in_proc
    assert PremadeMount("/proc", HAS).fits(HAS["mounts"], {**SETTINGS, key: kept}) == is_alike


def test_a_mount_inside_proc_must_be_hidden_with_the_rest():
    mounts = [*HAS["mounts"], {"destination": "/proc/uptime", "type": "bind"}]
    assert not PremadeMount("/proc", HAS).fits(mounts, SETTINGS)


def test_a_mount_inside_dev_comes_on_top():
    mounts = [*HAS["mounts"], {"destination": "/dev/shm", "type": "tmpfs"}]
    assert PremadeMount("/dev", HAS).fits(mounts, SETTINGS)
