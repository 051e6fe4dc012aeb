import io
import os
import stat
import tarfile

import anyio
import pytest

from runtime.build.archive import unpack_context
from runtime.build.options import BuildOptions
from runtime.errors import BadRequestError
from tests.integration.build.workbench import Result, bench, proves

pytestmark = pytest.mark.root


@proves
async def test_instructions_without_files_make_the_configuration(b):
    result = await b.build(
        "FROM scratch\nARG V=2\nENV A=1 B=$V\nENV C=${A}x A=9\nLABEL l='x y'\nEXPOSE 80 53/udp\n"
        "VOLUME /data\nUSER 5:6\n"
        'STOPSIGNAL SIGINT\nSHELL ["/bin/ash", "-c"]\nCMD run it\nENTRYPOINT ["/x"]\n'
        "HEALTHCHECK --retries=2 CMD probe\n"
    )
    assert result.config == {
        "WorkingDir": "/",
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=9", "B=2", "C=1x"],
        "Labels": {"l": "x y"},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/data": {}},
        "User": "5:6",
        "StopSignal": "SIGINT",
        "Shell": ["/bin/ash", "-c"],
        "Cmd": ["/bin/ash", "-c", "run it"],
        "Entrypoint": ["/x"],
        "Healthcheck": {"Test": ["CMD-SHELL", "probe"], "Retries": 2},
    }


@proves
async def test_a_new_entrypoint_forgets_the_bases_command(b):
    assert "Cmd" not in (await b.build('FROM busybox\nENTRYPOINT ["/x"]\n')).config


@proves
async def test_run_changes_files_and_leaves_no_mount_points(b):
    result = await b.build("FROM busybox\nWORKDIR /srv/app\nENV X=1\nRUN echo $X $PWD > made && rm /etc/group\n")
    assert result.read("/srv/app/made") == "1 /srv/app\n"
    assert result.tree.find("/etc/group") is None
    assert [result.tree.find(path) for path in ("/proc", "/sys", "/dev")] == [None] * 3


@proves
async def test_run_knows_user_arguments_and_documents(b):
    result = await b.build(
        "FROM busybox\nARG WHO\nUSER app\nRUN <<EOF\nid -u > /tmp/id\necho $WHO $HOME >> /tmp/id\nEOF\n",
        build_args={"WHO": "you"},
    )
    assert result.read("/tmp/id") == "1000\nyou /home/app\n"
    script = await b.build(
        "FROM busybox\nRUN <<'EOF' && echo after >> /log\necho one > /log\nEOF\n"
        "RUN <<-run\n\t#!/bin/cat\n\tself\n\trun\nRUN <<run\n#!/bin/sh -e\necho $0 >> /log\nrun\n"
    )
    assert "#!/bin/cat\nself\n" in script.text
    assert script.read("/log") == "after\n/dev/pipes/run\n"
    assert "RUN /bin/sh -c /dev/pipes/run # buildkit" in str(script.image.config["history"])


@proves
async def test_copy_places_files_as_docker_does(b):
    b.write({"a.txt": "a", "d/one": "1", "d/sub/two": "2", "x.py": "x", "y.py": "y"})
    (b.context / "d/link").symlink_to("one")
    result = await b.build(
        "FROM busybox\nCOPY a.txt /b.txt\nCOPY a.txt /dir/\nCOPY d /copied\nCOPY *.py /py/\nWORKDIR /w\nCOPY a.txt .\n"
        "COPY --chown=app:extra --chmod=640 a.txt /own/a\nCOPY <<EOF /doc\nhi $PATH\nEOF\n"
        "COPY --parents d/sub/two /p/\n"
    )
    assert [result.read(path) for path in ("/b.txt", "/dir/a.txt", "/w/a.txt")] == ["a"] * 3
    assert result.read("/copied/sub/two") == "2"
    assert os.readlink(result.tree.find("/copied/link", follow=False).location) == "one"
    assert result.read("/py/x.py") + result.read("/py/y.py") == "xy"
    own = result.info("/own/a")
    assert (own.st_uid, own.st_gid, stat.S_IMODE(own.st_mode)) == (1000, 2000, 0o640)
    assert result.read("/doc") == "hi /usr/local/bin:/usr/bin:/bin\n"
    assert result.read("/p/d/sub/two") == "2"


@proves
async def test_copy_follows_links_of_the_image_and_never_leaves_it(b):
    b.write({"f": "f"})
    result = await b.build(
        "FROM busybox\nRUN ln -s usr /u && ln -s ../../../../tmp /esc\nCOPY f /u/bin/\nCOPY f /esc/skiff-build-escape\n"
    )
    assert result.read("/usr/bin/f") == "f"
    assert result.read("/tmp/skiff-build-escape") == "f"
    assert not os.path.exists("/tmp/skiff-build-escape")  # noqa: ASYNC240


@proves
async def test_a_context_that_comes_as_a_stream_is_built_and_gone_afterwards(b):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in (("Dockerfile", b"FROM busybox\nCOPY . /app\n"), ("d/f", b"f")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

    async def chunks():
        yield out.getvalue()

    told = []

    async def send(message):
        told.append(message)

    await b.builder.build_archive(chunks(), BuildOptions(tags=("made:1",)), send)
    result = Result(b, b.images.resolve("made:1"), None, "")
    assert result.read("/app/d/f") == "f"
    assert stat.S_IMODE(result.info("/app").st_mode) == 0o755
    assert told[-1] == {"stream": "Successfully tagged made:1\n"}
    assert {"aux": {"ID": result.image.id}} in told


@proves
async def test_add_unpacks_archives_and_copy_does_not(b):
    with tarfile.open(b.context / "a.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("inner/file")
        member.size, member.uid, member.mode = 2, 7, 0o600
        archive.addfile(member, io.BytesIO(b"hi"))
    result = await b.build("FROM busybox\nADD a.tar.gz /x\nCOPY a.tar.gz /y/\n")
    assert result.read("/x/inner/file") == "hi"
    assert result.info("/x/inner/file").st_uid == 7
    assert result.info("/y/a.tar.gz").st_size > 0


@proves
async def test_stages_give_files_and_unneeded_ones_are_not_built(b):
    result = await b.build(
        "FROM busybox AS make\nRUN echo built > /out && chown 5:6 /out\nFROM busybox AS unused\nRUN false\n"
        "FROM scratch\nCOPY --from=make /out /in\nCOPY --from=busybox /etc/passwd /p\n"
    )
    assert result.read("/in") == "built\n"
    assert (result.info("/in").st_uid, result.info("/in").st_gid) == (5, 6)
    assert b.runner.runs == 1


@proves
async def test_independent_stages_are_built_side_by_side(b):
    # each stage waits for the other at a pipe of a cache directory that both see
    meet = "RUN --mount=type=cache,id=meet,target=/c mkfifo /c/pipe 2>/dev/null; "
    result = await b.build(
        f"FROM busybox AS one\n{meet} echo met > /c/pipe; echo 1 > /1\n"
        f"FROM busybox AS two\n{meet} cat /c/pipe > /2\n"
        "FROM scratch\nCOPY --from=one /1 /\nCOPY --from=two /2 /\n"
    )
    assert result.read("/1") + result.read("/2") == "1\nmet\n"
    steps = [line.split()[1] for line in result.text.splitlines() if line.startswith("Step ")]
    assert steps == [f"{number}/7" for number in range(1, 8)]


@proves
async def test_what_a_step_removed_and_recreated_hides_what_was_there(b):
    result = await b.build(
        "FROM busybox AS made\nRUN rm -rf /home && mkdir /home && echo new > /home/new\n"
        "FROM scratch\nCOPY --from=made /home /h\n"
    )
    assert [entry.path for entry in result.tree.children(result.tree.find("/h"))] == ["/h/new"]


@proves
async def test_an_unchanged_build_is_the_same_image_and_runs_nothing(b):
    b.write({"f": "1"})
    text = "FROM busybox\nARG A\nENV X=$A\nRUN echo > /made\nCOPY f /f\nRUN cat /f\nCMD x\n"
    first = await b.build(text)
    os.utime(b.context / "f", (1, 1))
    again = await b.build(text)
    assert (again.image.id, b.runner.runs) == (first.image.id, 2)
    b.write({"f": "2"})
    assert (await b.build(text)).image.id != first.image.id
    assert b.runner.runs == 3
    await b.build(text, build_args={"A": "1"})
    assert b.runner.runs == 5
    await b.build(text, no_cache=True)
    assert b.runner.runs == 7


@proves
async def test_stages_that_are_named_are_built_without_the_cache_and_no_others(b):
    text = "FROM busybox AS one\nRUN echo > /a\nFROM busybox\nCOPY --from=one /a /a\nRUN echo > /b\n"
    await b.build(text)
    await b.build(text)
    assert b.runner.runs == 2
    await b.build(text, no_cache_filter=frozenset({"one"}))
    assert b.runner.runs == 3


@proves
async def test_ignored_files_are_not_copied_and_not_hashed(b):
    b.write({".dockerignore": "secret\nlogs\n!logs/keep\n", "secret": "1", "logs/keep": "k", "logs/drop": "d"})
    result = await b.build("FROM scratch\nCOPY . /\n")
    assert result.tree.find("/secret") is None
    assert result.read("/logs/keep") == "k"
    assert result.tree.find("/logs/drop") is None
    b.write({"secret": "2"})
    assert (await b.build("FROM scratch\nCOPY . /\n")).image.id == result.image.id


@proves
async def test_mounts_show_files_only_while_the_step_runs(b):
    b.write({"f": "from context"})
    text = (
        "FROM busybox AS other\nRUN echo stage > /s\nFROM busybox\n"
        "RUN --mount=source=f,target=/m/f --mount=from=other,source=/s,target=/m/s --mount=type=cache,target=/c "
        "--mount=type=secret,id=key --mount=type=tmpfs,target=/t cat /m/f /m/s /run/secrets/key > /got && "
        "echo x >> /c/n && cp /c/n /n\n"
    )
    result = await b.build(text, secrets={"key": b"!"})
    assert result.read("/got") == "from contextstage\n!"
    assert [result.tree.find(path) for path in ("/m", "/c", "/t", "/run")] == [None] * 4
    assert (await b.build(text, secrets={"key": b"!"}, no_cache=True)).read("/n") == "x\nx\n"


@proves
async def test_triggers_of_a_base_run_once(b):
    b.write({"f": "f"})
    await b.build("FROM busybox\nONBUILD COPY f /f\nONBUILD RUN cat /f > /g\n", tags=("base:1",))
    result = await b.build("FROM base:1\nRUN cat /g > /h\n")
    assert result.read("/h") == "f"
    assert not result.config.get("OnBuild")


@proves
async def test_a_failing_step_shows_exit_code_and_last_output_and_keeps_earlier_steps(b):
    result = await b.build("FROM busybox\nRUN echo one > /one\n\nRUN echo this broke >&2; exit 7\n")
    assert result.error["code"] == 7
    assert result.error["message"].startswith(
        "Dockerfile:4: The command '/bin/sh -c echo this broke >&2; exit 7' returned"
    )
    assert "its last output:\n    this broke" in result.error["message"]
    assert b.leftovers == []
    assert "Using cache" in (await b.build("FROM busybox\nRUN echo one > /one\n")).text


@pytest.mark.parametrize(
    ("dockerfile", "message"),
    [
        (
            "FROM busybox\nCOPY requirments.txt /\n",
            "Dockerfile:2: 'requirments.txt' not found in the build context\n    did you mean \"requirements.txt\"?",
        ),
        (
            "FROM busybox\nCOPY secret /\n",
            'excluded from the build context by .dockerignore\n    the pattern "sec*" hides it',
        ),
        ("FROM busybox AS build\nFROM busybox\nCOPY --from=biuld /a /\n", 'did you mean "build"?'),
        ("FROM nowhere:1\n", "Dockerfile:1: No such image: nowhere:1"),
        ("FROM busybox\nUSER ghost\nRUN true\n", "Dockerfile:3: unable to find user ghost"),
        ('FROM busybox\nRUN ["/nothing"]\n', "Dockerfile:2:"),
        ('FROM busybox\nENV A="${B:?is missing}"\n', "Dockerfile:2: B: is missing"),
        ("FROM busybox\nCOPY requirements.txt /etc/passwd/x\n", "not a directory"),
    ],
)
def test_a_mistake_is_reported_with_place_and_cure(dockerfile, message):
    async def inside():
        async with bench() as b:
            b.write({"requirements.txt": "", "secret": "", ".dockerignore": "sec*"})
            result = await b.build(dockerfile)
            assert message in result.error["message"]
            assert b.leftovers == []

    anyio.run(inside)


@proves
async def test_a_missing_or_wrong_dockerfile_is_refused_before_anything(b):
    with pytest.raises(BadRequestError, match="Cannot locate specified Dockerfile: Dockerfle") as caught:
        await b.build("FROM busybox\n", dockerfile="Dockerfle")
    assert 'did you mean "Dockerfile"?' in str(caught.value)
    with pytest.raises(BadRequestError, match="unknown instruction: RNU"):
        await b.build("FROM busybox\nRNU x\n")


@proves
async def test_a_cancelled_build_leaves_nothing(b):
    b.write({"Dockerfile": "FROM busybox\nRUN echo begun; sleep 1000\n"})
    with anyio.CancelScope() as scope:

        async def send(message):
            if "begun" in message.get("stream", "").removeprefix("Step") and "RUN" not in message["stream"]:
                scope.cancel()

        await b.builder.build(b.context, BuildOptions(), send)
    assert scope.cancelled_caught
    assert b.leftovers == []


def test_a_context_is_unpacked_inside_its_directory(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, link in (("/abs", None), ("out", "/etc"), ("out/x", None)):
            member = tarfile.TarInfo(name)
            if link:
                member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member, io.BytesIO())

    async def chunks():
        for start in range(0, len(out.getvalue()), 7):
            yield out.getvalue()[start : start + 7]

    (tmp_path / "c").mkdir()
    anyio.run(unpack_context, chunks(), tmp_path / "c")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "c", "c/abs", "c/etc", "c/etc/x", "c/out",
    ]  # fmt: skip


def test_a_context_that_is_no_archive_is_refused(tmp_path):
    async def chunks():
        for _ in range(100):
            yield b"x" * 65536

    with pytest.raises(BadRequestError, match="the archive cannot be read"):
        anyio.run(unpack_context, chunks(), tmp_path)


@proves
async def test_equal_layers_in_one_image_are_one_below_a_container(b):
    b.write({"f": "content"})
    text = "FROM busybox\nCOPY f /f\nRUN rm /f\nCOPY f /f\nCOPY f /f\n"
    first = await b.build(text, tags=("repeated:1",))
    assert len(first.image.diff_ids) > len(set(first.image.diff_ids))
    again = await b.build("FROM repeated:1\nRUN cat /f > /seen\nCOPY --from=repeated:1 /f /copied\n")
    assert (again.read("/seen"), again.read("/copied")) == ("content", "content")


@proves
async def test_a_trigger_of_a_base_in_the_same_file_copies_from_a_stage_that_only_it_needs(b):
    text = (
        "FROM busybox AS made\nRUN echo made > /made\n"
        "FROM busybox AS base\nONBUILD COPY --from=made /made /copied\n"
        "FROM base\nRUN cat /copied\n"
    )
    assert (await b.build(text)).read("/copied") == "made\n"


@proves
async def test_a_trigger_of_a_base_image_copies_from_a_stage_that_is_built_or_says_what_is_missing(b):
    await b.build("FROM busybox\nONBUILD COPY --from=made /made /copied\n", tags=("triggers:1",))
    made = "FROM busybox AS made\nRUN echo made > /made\n"
    result = await b.build(f"{made}FROM triggers:1\nCOPY --from=made /made /again\n")
    assert (result.read("/copied"), result.read("/again")) == ("made\n", "made\n")
    failed = await b.build(f"{made}FROM triggers:1\nRUN true\n")
    assert failed.error["message"].startswith("Dockerfile:3: the base image's ONBUILD copies from the stage 'made'")


@proves
async def test_a_base_without_a_path_gets_dockers_in_words_and_in_the_image(b):
    default = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    b.write({"f": "1"})
    scratch = await b.build("FROM scratch\nCOPY f /f\nENV PATH=/opt/x:$PATH\n", tags=("own:1",))
    assert scratch.config["Env"] == [f"PATH=/opt/x:{default}"]
    assert scratch.config["WorkingDir"] == "/"
    assert (await b.build("FROM scratch\nCOPY f /f\n")).config["Env"] == [f"PATH={default}"]
    assert (await b.build("FROM own:1\nLABEL a=b\n")).config["Env"] == [f"PATH=/opt/x:{default}"]
