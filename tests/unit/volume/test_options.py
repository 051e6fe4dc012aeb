import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadRequestError
from runtime.volume.options import KNOWN, Backing, backing


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Backing()),
        ({"type": "none", "o": "bind", "device": "/data"}, Backing("bind", "/data")),
        ({"type": "none", "o": "rbind,ro", "device": "/data"}, Backing("bind", "/data", ("ro",))),
        (
            {"type": "tmpfs", "device": "tmpfs", "o": "size=10m,uid=1000,noexec"},
            Backing("tmpfs", "tmpfs", ("noexec",), ("size=10m", "uid=1000")),
        ),
        ({"type": "tmpfs"}, Backing("tmpfs")),
    ],
)
def test_options_say_what_is_behind_a_volume(options, expected):
    assert backing("v", options) == expected
    assert backing("v", options).is_read_only == ("ro" in expected.flags)


@pytest.mark.parametrize(
    ("options", "problem", "hint"),
    [
        ({"tpye": "tmpfs"}, 'invalid option: "tpye"', 'did you mean "type"?'),
        ({"size": "10m"}, "quota size requested but no quota support", "o: size=10m"),
        ({"type": "none", "o": "bind"}, 'missing required option: "device"', "device:"),
        ({"o": "bind", "device": "/data"}, 'missing required option: "type"', "type: none"),
        ({"type": "none", "o": "bind", "device": "data"}, "'data' of a bind is not an absolute path", "from the root"),
        ({"type": "none", "o": "bind,uid=3", "device": "/x"}, "invalid mount option 'uid=3'", "known: ro"),
        ({"type": "nfs", "o": "addr=1.2.3.4", "device": ":/x"}, "type nfs are not supported", "bind-mount it"),
        ({"type": "nfs4", "device": ":/x"}, "type nfs4 are not supported", "bind-mount it"),
        ({"type": "cifs", "device": "//h/x"}, "type cifs are not supported", "bind-mount it"),
        ({"type": "ext4", "device": "/dev/sdb1"}, "type ext4 on /dev/sdb1 are not supported", "mount it on the host"),
        ({"type": "tmpfs", "o": "size"}, "invalid mount option 'size'", "size"),
    ],
)
def test_what_cannot_be_behind_a_volume_is_refused(options, problem, hint):
    with pytest.raises(BadRequestError, match="create v: ") as caught:
        backing("v", options)
    assert problem in caught.value.message
    assert hint in caught.value.hint


@given(st.dictionaries(st.sampled_from([*KNOWN, "size", "x"]), st.text(alphabet="bind,tmpfsro=/1", max_size=20)))
def test_any_options_are_read_or_refused(options):
    try:
        found = backing("v", options)
    except BadRequestError:
        return
    assert found.kind in ("directory", "bind", "tmpfs")
