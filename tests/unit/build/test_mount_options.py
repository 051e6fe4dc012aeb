import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.build.errors import DockerfileError
from runtime.build.mount_options import mount_source, read_mount, size_bytes, switch


def test_aliases_have_one_name_and_switches_need_no_value():
    assert read_mount("type=bind,src=a,dst=/b,rw") == {
        "type": "bind",
        "source": "a",
        "target": "/b",
        "readwrite": "true",
    }
    assert read_mount("target=/x") == {"type": "bind", "target": "/x"}
    assert read_mount("type=cache") == {"type": "cache", "target": "."}
    assert read_mount("type=secret,id=x") == {"type": "secret", "id": "x"}
    assert switch(read_mount("type=secret,id=x,required"), "required")
    assert not switch(read_mount("type=secret,id=x,required=false"), "required")


@pytest.mark.parametrize(
    ("written", "problem", "hint"),
    [
        ("type=bnid,target=/x", "unsupported mount type 'bnid'", 'did you mean "bind"?'),
        ("type=bind,sharing=locked,target=/x", "unexpected key 'sharing' for mount type 'bind'", None),
        ("type=cache,taget=/x", "unexpected key 'taget'", 'did you mean "target"?'),
        ("type=cache,target", "invalid field 'target'", "write key=value"),
        ('type=cache,"target=/x', "can't be read", "write key=value,key=value"),
    ],
)
def test_mistakes_in_mounts_are_named(written, problem, hint):
    with pytest.raises(DockerfileError, match=None) as caught:
        read_mount(written)
    assert problem in caught.value.problem
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "written",
    [
        "type=cache,target=/x,mode=9", "type=cache,target=/x,uid=app", "type=cache,target=/x,sharing=mine",
        "type=secret,id=x,required=perhaps", "type=tmpfs,target=/x,size=x", "type=tmpfs,target=/x,size=",
        "type=secret,id=x,source=y", "type=secret,from=x,id=y",
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(written):
    with pytest.raises(DockerfileError):
        read_mount(written)


def test_values_may_hold_variables_and_quoted_commas():
    variables = {"$KIND": "CACHE", "$WHERE": "/c", "$WHO": "1000"}
    written = 'type=$KIND,target=$WHERE,uid=$WHO,"id=a,b",sharing=Locked'
    assert read_mount(written, lambda word: variables.get(word, word)) == {
        "type": "cache", "target": "/c", "uid": "1000", "id": "a,b", "sharing": "Locked",
    }  # fmt: skip


def test_where_a_mount_reads_from_is_known_before_the_build():
    assert mount_source("target=/x,From=base,source=$S") == "base"
    assert mount_source("target=/x") == ""
    with pytest.raises(DockerfileError, match="from takes no variables"):
        mount_source("from=$X,target=/x")


@pytest.mark.parametrize(
    ("written", "size"), [("64m", 64 << 20), ("1GB", 1 << 30), ("1.5k", 1536), ("7", 7), ("2gib", 2 << 30)]
)
def test_sizes_have_units(written, size):
    assert size_bytes(written) == size


@given(st.text(alphabet="abtypersc=,/$ 0", max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        options = read_mount(text)
    except DockerfileError:
        return
    assert options["type"] in ("bind", "cache", "tmpfs", "secret", "ssh")
