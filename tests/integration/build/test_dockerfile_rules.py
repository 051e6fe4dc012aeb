"""What instructions leave in an image's configuration and history, as BuildKit has it: tables of cases, built on nothing."""

import os
import time

import anyio
import pytest

from tests.integration.build.workbench import copying_bench

pytestmark = pytest.mark.root

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = ["/bin/sh", "-c"]

CONFIGURATIONS = [
    # text, build arguments, what the configuration has (None: it has not)
    ("CMD", {}, {"Cmd": [*SHELL, ""]}),
    ("CMD a\nCMD []", {}, {"Cmd": None}),
    ("CMD a\nENTRYPOINT []", {}, {"Cmd": [*SHELL, "a"], "Entrypoint": None}),
    ('ENTRYPOINT\nSHELL ["/x", "-y"]\nCMD a  b', {}, {"Entrypoint": [*SHELL, ""], "Cmd": ["/x", "-y", "a  b"]}),
    ("WORKDIR /a/\nWORKDIR b/../c/", {}, {"WorkingDir": "/a/c", "Env": [PATH]}),
    ("WORKDIR a b", {}, {"WorkingDir": "/a b"}),
    ("LABEL x=y", {}, {"WorkingDir": "/", "Env": [PATH]}),
    ("EXPOSE 80 81/UDP 82/ 0 90-91/sctp", {},
     {"ExposedPorts": {"80/tcp": {}, "81/udp": {}, "82/tcp": {}, "0/tcp": {}, "90/sctp": {}, "91/sctp": {}}}),
    ("EXPOSE 8080:80 127.0.0.1:1:2/udp [::1]:3:4 5-6:7-8", {},
     {"ExposedPorts": {"80/tcp": {}, "2/udp": {}, "4/tcp": {}, "7/tcp": {}, "8/tcp": {}}}),
    ("ARG P=80\nEXPOSE $P ${P}1/udp", {}, {"ExposedPorts": {"80/tcp": {}, "801/udp": {}}}),
    ("STOPSIGNAL SIGRTMIN+3", {}, {"StopSignal": "SIGRTMIN+3"}),
    ("ARG S=99\nSTOPSIGNAL $S", {}, {"StopSignal": "99"}),
    ("STOPSIGNAL kill", {}, {"StopSignal": "kill"}),
    ("STOPSIGNAL SIGPOLL", {}, {"StopSignal": "SIGPOLL"}),
    ("STOPSIGNAL IOT", {}, {"StopSignal": "IOT"}),
    ("WORKDIR /a/", {}, {"WorkingDir": "/a/"}),
    ("WORKDIR /a/../b", {}, {"WorkingDir": "/a/../b"}),
    ("WORKDIR /a/../b\nWORKDIR c/", {}, {"WorkingDir": "/b/c"}),
    ("COPY --from=scratch / /\nLABEL x=y", {}, {"Labels": {"x": "y"}}),
    ("ARG U=7\nUSER $U:8", {}, {"User": "7:8"}),
    ('VOLUME /a /b\nVOLUME ["/c d"]', {}, {"Volumes": {"/a": {}, "/b": {}, "/c d": {}}}),
    # of one name, the later line wins
    ("ENV A=env\nARG A=arg\nLABEL l=$A", {}, {"Labels": {"l": "arg"}, "Env": [PATH, "A=env"]}),
    ("ENV A=env\nARG A\nLABEL l=$A", {}, {"Labels": {"l": "env"}}),
    ("ENV A=env\nARG A\nLABEL l=$A", {"A": "given"}, {"Labels": {"l": "given"}, "Env": [PATH, "A=env"]}),
    ("ARG A=arg\nENV A=env\nLABEL l=$A", {"A": "given"}, {"Labels": {"l": "env"}}),
    ("ARG A=one\nARG A=two\nLABEL l=$A", {}, {"Labels": {"l": "two"}}),
    ("ARG PATH=/x\nENV B=$PATH\nFROM scratch AS o", {}, {}),
    ("ENV A=1 B=$A\nENV C=$A$B", {}, {"Env": [PATH, "A=1", "B=", "C=1"]}),
    # of stages too: what the first has goes on, the second's lines win
    ("AS x\nARG A=arg\nENV B=env\nFROM x\nLABEL a=$A b=$B", {}, {"Labels": {"a": "arg", "b": "env"}}),
    ("AS x\nLABEL l=1\nFROM scratch AS x\nLABEL l=2\nFROM x", {}, {"Labels": {"l": "2"}}),
    # what a base triggers is read only now
    ("AS x\nONBUILD LABEL l=$A\nARG A=1\nFROM x\nLABEL m=1", {}, {"Labels": {"l": "1", "m": "1"}, "OnBuild": None}),
    ("HEALTHCHECK --interval=0s --retries=0 CMD a", {}, {"Healthcheck": {"Test": ["CMD-SHELL", "a"]}}),
]  # fmt: skip

REFUSED = [
    ("STOPSIGNAL 0", "invalid signal: 0"),
    ("STOPSIGNAL SIGNONE", "invalid signal: SIGNONE"),
    ("STOPSIGNAL SIGRTMIN+16", "invalid signal: SIGRTMIN+16"),
    ("COPY [z-a].txt /", "syntax error in pattern: '[z-a].txt'"),
    ("COPY [a.txt /", "syntax error in pattern: '[a.txt'"),
    ("EXPOSE 99999", "invalid port: '99999'"),
    ("EXPOSE 80/http", "invalid port: '80/http'"),
    ("EXPOSE 9-8", "invalid port: '9-8'"),
    ("ARG V\nVOLUME $V", "VOLUME specified can not be an empty string"),
    ("AS x\nONBUILD RNU x\nFROM x", "unknown instruction: RNU"),
    ("RUN --mount=type=cahce,target=/x y", 'did you mean "cache"?'),
    ("ARG T=/\nRUN --mount=type=tmpfs,target=$T y", "invalid mount target '/'"),
    ("RUN --mount=type=cache,target=. y", "invalid mount target '/'"),
]

HISTORY = [
    ("ARG A=1 B\nARG C", "ARG A=1 B", True),
    ("ENV A='x y' B=2", "ENV A=x y B=2", True),
    ("ARG V=v\nLABEL a=$V", "LABEL a=v", True),
    ("WORKDIR /a/", "WORKDIR /a/", False),
    ("WORKDIR /a/../b", "WORKDIR /a/../b", False),
    ("WORKDIR /a/\nWORKDIR b/", "WORKDIR /a/b", False),
    ("WORKDIR /", "WORKDIR /", True),
    ('CMD ["a", "b\\"c"]', 'CMD ["a" "b\\"c"]', True),
    ("ENTRYPOINT x y", 'ENTRYPOINT ["/bin/sh" "-c" "x y"]', True),
    ("EXPOSE 90 80/udp", "EXPOSE [80/udp 90/tcp]", True),
    ("ARG U=me\nUSER $U", "USER me", True),
    ('VOLUME ["/a b", "/c"]', "VOLUME [/a b /c]", True),
    ("STOPSIGNAL 9", "STOPSIGNAL 9", True),
    ('SHELL ["/x", "-y"]', "SHELL [/x -y]", True),
    ("MAINTAINER me & you", "MAINTAINER me & you", True),
    ("HEALTHCHECK --interval=90s --timeout=500ms --retries=3 CMD a",
     "HEALTHCHECK &{[\"CMD-SHELL\" \"a\"] \"1m30s\" \"500ms\" \"0s\" \"0s\" '\\x03'}", True),
    ("HEALTHCHECK --retries=10 CMD a",
     "HEALTHCHECK &{[\"CMD-SHELL\" \"a\"] \"0s\" \"0s\" \"0s\" \"0s\" '\\n'}", True),
    ("COPY --chown=$NONE --chmod=$NONE f /d/", "COPY f /d/ # buildkit", False),
    ("ARG N=f\nCOPY --chown=5 --chmod=600 --link $N g /d/", "COPY --chown=5 --chmod=600 f g /d/ # buildkit", False),
    ("COPY --parents f /d/", "COPY --parents f /d/ # buildkit", False),
    ("ADD f <<A <<'B' /d/\na\nA\nb\nB", "ADD f <<A <<B /d/ # buildkit", False),
    ("COPY *.none /d/", "COPY *.none /d/ # buildkit", False),
]  # fmt: skip


def file_of(text):
    return f"FROM scratch {text}" if text.startswith("AS ") else f"FROM scratch\n{text}"


def test_configurations_are_what_buildkit_makes():
    async def main():
        async with copying_bench() as b:
            for text, arguments, expected in CONFIGURATIONS:
                result = await b.build(file_of(text), build_args=arguments)
                found = {name: result.config.get(name) for name in expected}
                assert found == expected, text

    anyio.run(main)


def test_what_buildkit_refuses_is_refused():
    async def main():
        async with copying_bench() as b:
            for text, message in REFUSED:
                result = await b.build(file_of(text))
                assert result.error is not None, text
                assert message in result.error["message"], text

    anyio.run(main)


def test_history_is_that_of_buildkit():
    async def main():
        async with copying_bench() as b:
            b.write({"f": "", "g": ""})
            for text, told, is_empty in HISTORY:
                result = await b.build(file_of(text))
                history = result.image.config["history"]
                entries = [(entry["created_by"], entry.get("empty_layer", False)) for entry in history]
                assert (told, is_empty) in entries, entries
                assert len([entry for entry in entries if not entry[1]]) == len(result.image.diff_ids)
            result = await b.build("FROM scratch\nONBUILD CMD x\n")
            assert result.image.config["history"] == []
            assert result.config["OnBuild"] == ["CMD x"]

    anyio.run(main)


def test_an_argument_in_the_place_of_the_environment_is_warned_of():
    async def main():
        async with copying_bench() as b:
            both = await b.build("FROM scratch\nENV A=1\nARG A=2\n")
            assert "[Warning] from here on $A is '2', as ARG says, and not '1', as ENV does" in both.text
            same = await b.build("FROM scratch\nENV A=1\nARG A=1\nARG B=2\n")
            assert "[Warning]" not in same.text

    anyio.run(main)


def test_documents_have_the_time_of_now_and_no_backslash():
    async def main():
        async with copying_bench() as b:
            before = int(time.time())
            result = await b.build("FROM scratch\nARG N=name\nCOPY <<A <<'B' /d/\n$N \\$N a\\nb\nA\n$N a\\nb\nB\n")
            assert (result.read("/d/A"), result.read("/d/B")) == ("name $N anb\n", "$N a\\nb\n")
            assert result.info("/d/A").st_mtime >= before

    anyio.run(main)


def test_with_a_source_date_epoch_two_builds_are_one_image():
    async def main():
        ids = []
        for moment in (1_800_000_000, 1_900_000_000):
            async with copying_bench() as b:
                b.write({"s/f": "f", "s/d/g": "g"})
                for path in b.context.rglob("*"):
                    os.utime(path, (moment, moment))
                text = "FROM scratch\nENV A=1\nWORKDIR /w\nCOPY s .\nCOPY <<X /x\nx\nX\nADD s/f /made/\nCMD y\n"
                result = await b.build(text, build_args={"SOURCE_DATE_EPOCH": "1700000000"})
                assert result.info("/w/d/g").st_mtime == 1_700_000_000
                assert {entry["created"] for entry in result.image.config["history"]} == {"2023-11-14T22:13:20Z"}
                ids.append(result.image.id)
        assert ids[0] == ids[1]

    anyio.run(main)


def test_a_step_that_changes_nothing_makes_the_layer_that_everybody_makes_of_nothing():
    async def main():
        async with copying_bench() as b:
            b.write({"f": ""})
            result = await b.build("FROM scratch\nCOPY f /d/\nWORKDIR /d\nWORKDIR /d\n")
            nothing = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
            assert result.image.diff_ids[1:] == (nothing, nothing)

    anyio.run(main)


def test_builds_warn_of_what_shows_only_then_and_fail_where_that_is_wanted():
    async def main():
        async with copying_bench() as b:
            text = "FROM scratch AS x\nENV name=1 base=$PATH\nWORKDIR rel\nFROM x\nWORKDIR more\nLABEL a=$nmae b=${no:-1}\n"
            result = await b.build(text)
            warned = [line.split(":")[0] for line in result.text.splitlines() if line.startswith("[Warning]")]
            assert warned == ["[Warning] WorkdirRelativePath", "[Warning] UndefinedVar", "[Warning] UndefinedVar"]
            assert "'$nmae' (did you mean $name?) (line 6)" in result.text
            failed = await b.build(f"# check=error=true\n{text}")
            assert "lint violation found for rules: UndefinedVar, WorkdirRelativePath" in failed.error["message"]
            given = await b.build(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=all;error=true"})
            assert "[Warning]" not in given.text
            assert "[Warning]" not in (await b.build(text, quiet=True)).text

    anyio.run(main)


def test_another_architecture_is_built_where_nothing_of_it_runs():
    async def main():
        async with copying_bench() as b:
            b.write({"f": "f"})
            text = (
                "FROM --platform=linux/s390x scratch AS s390x\nARG TARGETPLATFORM\nCOPY f /\nLABEL t=$TARGETPLATFORM\n"
            )
            result = await b.build(text, platform="linux/arm64/v8")
            # nothing has no platform of its own: the image is for what it was built for
            assert (result.image.config["architecture"], result.config["Labels"]) == ("arm64", {"t": "linux/arm64/v8"})
            assert "variant" not in result.image.config
            refused = await b.build(f"{text}RUN x\n", platform="linux/s390x")
            assert "Dockerfile:5: programs for linux/s390x do not run on this machine" in refused.error["message"]
            assert "qemu-user-static" in refused.error["message"]
            own = await b.build("FROM scratch\nCOPY f /\n", platform="linux/amd64/v2")
            assert (own.image.config["architecture"], own.image.config["variant"]) == ("amd64", "v2")

    anyio.run(main)
