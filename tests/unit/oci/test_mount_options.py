"""What mount options come to, whatever their order (OCI runtime spec, "Linux mount options")."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.linux import syscalls as linux
from runtime.oci.mount_options import FLAGS, KNOWN, PROPAGATION, RECURSIVE, MountOptions

OPPOSITES = [
    ("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"), ("sync", "async"), ("noatime", "atime"),
    ("nodiratime", "diratime"), ("relatime", "norelatime"), ("strictatime", "nostrictatime"), ("mand", "nomand"),
    ("lazytime", "nolazytime"), ("iversion", "noiversion"), ("silent", "loud"), ("nosymfollow", "symfollow"),
]  # fmt: skip
names = st.sampled_from(sorted(KNOWN))


@given(st.lists(st.one_of(names, st.text(min_size=1, max_size=8).filter(lambda text: text not in KNOWN))))
def test_what_is_no_option_of_mounts_is_the_filesystems(options):
    assert MountOptions(options).filesystem_options == [option for option in options if option not in KNOWN]


@given(st.lists(names))
def test_the_last_of_two_opposites_counts(options):
    found = MountOptions(options)
    for on, off in OPPOSITES:
        said = [option for option in options if option in (on, off)]
        bits = FLAGS[on][0]
        assert bool(found.flags & bits) == (bool(said) and said[-1] == on), (on, off)


@given(st.lists(names))
def test_an_attribute_is_never_both_set_and_cleared_unless_it_is_a_choice_of_times(options):
    on, off = MountOptions(options).recursive
    assert on & off & ~linux.MOUNT_ATTR__ATIME == 0
    if on & linux.MOUNT_ATTR__ATIME:
        assert off & linux.MOUNT_ATTR__ATIME == linux.MOUNT_ATTR__ATIME  # mount_setattr(2) wants it so


@given(st.lists(names))
def test_propagation_keeps_its_order(options):
    assert MountOptions(options).propagation == [PROPAGATION[option] for option in options if option in PROPAGATION]


@pytest.mark.parametrize("name", sorted(RECURSIVE))
def test_a_recursive_option_says_nothing_of_the_top_alone(name):
    found = MountOptions([name])
    assert (found.attributes, found.flags, found.parameters) == ((0, 0), 0, [])
    assert found.recursive != (0, 0)


def test_binds_are_recognized_by_their_options():
    assert MountOptions(["rbind", "ro"]).is_bind
    assert MountOptions(["bind"]).is_bind
    assert not MountOptions(["ro"]).is_bind
    assert (MountOptions(["idmap"]).maps_ids, MountOptions(["idmap"]).maps_all_ids) == (True, False)
    assert (MountOptions(["ridmap"]).maps_ids, MountOptions(["ridmap"]).maps_all_ids) == (True, True)
    assert MountOptions(["tmpcopyup"]).copies_up
