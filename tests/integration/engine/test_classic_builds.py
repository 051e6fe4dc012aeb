"""`POST /build` without a version, or with version 1: the stream of dockerd 28.5.2's classic builder, to the message."""

import io
import json
import re
import tarfile
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.root

DOCKERFILE = """ARG V=latest
FROM busybox:$V AS one
RUN echo said; echo bad >&2
FROM one
COPY x /x
LABEL a=b
WORKDIR /w
"""
RUNNING, REMOVED = " ---> Running in #\n", " ---> Removed intermediate container #\n"
CACHED, ID = " ---> Using cache\n", " ---> #\n"
PAIR = quote('{"k":"v"}')
BEGINNINGS = [
    "Step 1/7 : ARG V=latest", "Step 2/7 : FROM busybox:$V AS one", "Step 3/7 : RUN echo said; echo bad >&2",
    "Step 4/7 : FROM one", "Step 5/7 : COPY x /x", "Step 6/7 : LABEL a=b", "Step 7/7 : WORKDIR /w",
]  # fmt: skip
END = [{"aux": {"ID": "#"}}, "Successfully built #\n"]


@pytest.fixture
def build(api):
    def run(dockerfile, query=""):
        spool = io.BytesIO()
        with tarfile.open(fileobj=spool, mode="w") as tar:
            for name, text in (("Dockerfile", dockerfile), ("x", "x")):
                member = tarfile.TarInfo(name)
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
        return api.ask("POST", f"/build?{query}", spool.getvalue(), Content_Type="application/x-tar")

    return run


def messages(answer):
    """The messages of a stream, its texts as they are, IDs as #."""
    assert answer.status == 200, answer
    lines = [
        json.loads(line)
        for line in re.sub(rb"(sha256:)?\b([0-9a-f]{64}|[0-9a-f]{12})\b", b"#", answer.body).splitlines()
    ]
    return [line["stream"] if set(line) == {"stream"} else line for line in lines]


def steps(*after):
    """The beginnings of the steps, with what follows each."""
    return [text for begun, then in zip(BEGINNINGS, after, strict=True) for text in (begun, "\n", *then)]


def test_each_step_says_where_it_ran_and_what_came_of_it(build):
    first = messages(build(DOCKERFILE, "version=1&nocache=1&t=classic:1"))
    output = [
        text for text in first if ("said" in text and "Step" not in text) or ("bad" in text and "Step" not in text)
    ]
    assert sorted(output) == ["\x1b[91mbad\n\x1b[0m", "said\n"]
    ran = [RUNNING, REMOVED, ID]
    assert [text for text in first if text not in output] == [
        *steps([], [ID], ran, [ID], [ID], ran, ran), *END, "Successfully tagged classic:1\n"
    ]  # fmt: skip
    assert messages(build(DOCKERFILE)) == [
        *steps([], [ID], [CACHED, ID], [ID], [CACHED, ID], [CACHED, ID], [CACHED, ID]), *END
    ]  # fmt: skip
    assert RUNNING in messages(build(DOCKERFILE, "nocache=1&rm=0"))
    assert REMOVED not in messages(build(DOCKERFILE, "nocache=1&rm=0"))
    assert messages(build(DOCKERFILE, "q=1")) == ["#\n"]


def test_labels_and_triggers_are_steps_too(build):
    assert messages(build("FROM busybox\n", f"nocache=1&labels={PAIR}")) == [
        "Step 1/2 : FROM busybox", "\n", ID, "Step 2/2 : LABEL k=v", "\n", RUNNING, REMOVED, ID, *END
    ]  # fmt: skip
    build("FROM busybox\nONBUILD RUN true\nONBUILD COPY x /y\n", "t=triggers")
    assert messages(build("FROM triggers\n", f"nocache=1&buildargs={PAIR}")) == [
        "Step 1/1 : FROM triggers", "\n", "# Executing 2 build trigger", "s", "\n", RUNNING, REMOVED, ID,
        END[0], "[Warning] One or more build-args [k] were not consumed\n", END[1],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("dockerfile", "query", "message", "detail"),
    [
        ("RUN exit 3", "", "The command '/bin/sh -c exit 3' returned a non-zero code: 3", {"code": 3}),
        ("RUN exit 3", "forcerm=1", "The command '/bin/sh -c exit 3' returned a non-zero code: 3", {"code": 3}),
        (
            "COPY nosuch /x", "",
            "COPY failed: file not found in build context or excluded by .dockerignore: stat nosuch: file does not exist",
            {},
        ),
        ("USER ghost\nRUN true", "", "unable to find user ghost: no matching entries in passwd file", {}),
    ],
)  # fmt: skip
def test_a_failure_is_reported_in_that_builders_words_and_its_place_in_the_hint(
    build, dockerfile, query, message, detail
):
    *before, last = messages(build(f"FROM busybox\n{dockerfile}\n", query))
    assert last["error"] == message
    assert last["errorDetail"].pop("hint").startswith("Dockerfile:")
    assert last["errorDetail"] == {"message": message, **detail}
    assert (REMOVED in before[-1:]) == (query == "forcerm=1")


def test_what_cannot_be_read_is_refused_before_the_stream(build):
    for dockerfile, query, message in (
        ("FROM busybox\nNOSUCH x\n", "", "dockerfile parse error on line 2: unknown instruction: NOSUCH"),
        ("RUN x\n", "", "no build stage in current context"),
        ("", "", "the Dockerfile (Dockerfile) cannot be empty"),
        ("FROM busybox\n", "target=zz", 'target stage "zz" could not be found'),
    ):
        answer = build(dockerfile, query)
        assert (answer.status, answer.message) == (400, message)


def test_a_step_on_a_network_knows_the_containers_there(api, build, containers):
    network = api.ask("POST", "/networks/create", {"Name": "of-builds"}).json["Id"]
    try:
        containers("sleep", "60", name="by-name", HostConfig={"NetworkMode": "of-builds"})
        said = build("FROM busybox\nRUN ping -c 1 by-name\n", "networkmode=of-builds&nocache=1").body.decode()
        assert "PING by-name (" in said
        assert "Successfully built" in said
    finally:
        api.remove("by-name")
        api.ask("DELETE", f"/networks/{network}")
