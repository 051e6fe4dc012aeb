"""What COPY and ADD make of files, directories, links, owners and modes: a table of cases, each built on nothing."""

import hashlib
import io
import os
import shutil
import stat
import tarfile

import anyio
import pytest

from runtime.image.mounted_layers import ARCHIVE
from tests.integration.build.workbench import copying_bench

pytestmark = pytest.mark.root

PASSWD = "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"


def describe(tree, below="/"):
    """Return what lies in a tree by path: `d` or `f` with mode and owner and a file's content, `l` with its target."""
    found = {}
    for entry in tree.walk(tree.find(below)):
        info = entry.info
        about = f"{stat.S_IMODE(info.st_mode):o} {info.st_uid}:{info.st_gid}"
        if entry.is_link:
            found[entry.path] = f"l {os.readlink(entry.location)}"
        elif entry.is_directory:
            found[entry.path] = f"d {about}"
        else:
            with open(entry.location) as file:
                found[entry.path] = f"f {about} {file.read()}"
    return found


def lay(context, files):
    """Fill a context: `"d/"` is a directory, a value `-> x` a link, `= x` a hard link, (mode, text) a file of that mode."""
    shutil.rmtree(context)
    context.mkdir()
    for name, content in files.items():
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mode, text = content if isinstance(content, tuple) else (0o755 if name.endswith("/") else 0o644, content)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif text.startswith("-> "):
            path.symlink_to(text[3:])
            continue
        elif text.startswith("= "):
            path.hardlink_to(context / text[2:])
            continue
        elif text.startswith("tar "):
            path.write_bytes(archive(text[4:].split()))
        else:
            path.write_text(text)
        path.chmod(mode)


def archive(names):
    """Return a tar archive: `d/` a directory of mode 700, `l>x` a link to x, else a file of user 7 with its own name in it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name.partition(">")[0].rstrip("/"))
            if name.endswith("/"):
                member.type, member.mode = tarfile.DIRTYPE, 0o700
                tar.addfile(member)
            elif ">" in name:
                member.type, member.linkname = tarfile.SYMTYPE, name.partition(">")[2]
                tar.addfile(member)
            else:
                member.uid, member.size = 7, len(name)
                tar.addfile(member, io.BytesIO(name.encode()))
    return out.getvalue()


A = {"a.txt": "a", "b.txt": "b"}
TREE = {"src/": (0o2711, ""), "src/sub/": (0o700, ""), "src/sub/f": (0o600, "f"), "src/x": "x"}
CASES = {
    # wildcards
    "a wildcard that matches nothing brings nothing": (
        {"package.json": "p"}, ["COPY package.json yarn.lock* /w/"], {"/w": "d 755 0:0", "/w/package.json": "f 644 0:0 p"},
    ),
    "nor does it alone": ({"x": "x"}, ["COPY *.md /w/"], {}),
    "several matches make the destination a directory": (
        A, ["COPY *.txt /t"], {"/t": "d 755 0:0", "/t/a.txt": "f 644 0:0 a", "/t/b.txt": "f 644 0:0 b"},
    ),
    "and several names": (A, ["COPY a.txt b.txt /t"], {"/t": "d 755 0:0", "/t/a.txt": "f 644 0:0 a", "/t/b.txt": "f 644 0:0 b"}),
    "one match is a file of the destination's name": (A, ["COPY a*.txt /t"], {"/t": "f 644 0:0 a"}),
    "a class stands for a wildcard itself": ({"a[0].txt": "0", "a0.txt": "1"}, ["COPY a[[]0].txt /t"], {"/t": "f 644 0:0 0"}),
    "an escaped wildcard in a pattern is a character": (
        {"a*b1": "star", "axb1": "x"}, ["COPY a\\\\*b? /t"], {"/t": "f 644 0:0 star"},
    ),
    "two stars are one": (
        {"d/a/f": "1", "d/a/b/f": "2", "d/f": "3"}, ["COPY d/**/f /t"], {"/t": "f 644 0:0 1"},
    ),
    "what is in a matching directory is copied, not the directory": (
        {"one/f": "1", "other/g": "2"}, ["COPY o* /t/"], {"/t": "d 755 0:0", "/t/f": "f 644 0:0 1", "/t/g": "f 644 0:0 2"},
    ),
    "a wildcard goes through no link, and follows one that matches": (
        {"d/f": "f", "l": "-> d/f", "k": "-> d"}, ["COPY l* /t", "COPY */f /u"], {"/t": "f 644 0:0 f", "/u": "f 644 0:0 f"},
    ),
    # directories
    "a destination that is made is of mode 755 and of root": (
        TREE, ["COPY src /new"],
        {"/new": "d 755 0:0", "/new/sub": "d 700 0:0", "/new/sub/f": "f 600 0:0 f", "/new/x": "f 644 0:0 x"},
    ),
    "one that is there keeps what it is": (
        {**TREE, "old/": (0o1777, "")}, ["COPY --parents --chown=5:6 old /", "COPY src /old"],
        {"/old": "d 1777 5:6", "/old/sub": "d 700 0:0", "/old/sub/f": "f 600 0:0 f", "/old/x": "f 644 0:0 x"},
    ),
    "one that is there in what is copied takes its mode and owner": (
        {**TREE, "old/sub/": (0o777, "")}, ["COPY --chown=5:6 old /d/", "COPY --chown=8 src /d"],
        {"/d": "d 755 5:6", "/d/sub": "d 700 8:8", "/d/sub/f": "f 600 8:8 f", "/d/x": "f 644 8:8 x"},
    ),
    "chown, and chmod by a number, are for the directories that are made as well": (
        TREE, ["COPY --chown=5:6 --chmod=444 src /p/new"],
        {"/p": "d 444 5:6", "/p/new": "d 444 5:6", "/p/new/sub": "d 444 5:6", "/p/new/sub/f": "f 444 5:6 f",
         "/p/new/x": "f 444 5:6 x"},
    ),
    "a destination that climbs is tidied up as text": (
        {"f": "f"}, ["COPY f /not/there/../../x/.."], {"/f": "f 644 0:0 f"},
    ),
    "an owner that is no number of the kernel's is looked up as a name": (
        {"f": "f", "etc/passwd": PASSWD}, ["COPY etc /etc/", "COPY --chown=99999999999 f /f"], {"/f": "f 644 0:0 f"},
    ),
    "directories that an archive uses and does not have are root's": (
        {"x": "tar a/b/c"}, ["ADD --chown=5:6 x /d/"],
        {"/d": "d 755 5:6", "/d/a": "d 755 0:0", "/d/a/b": "d 755 0:0", "/d/a/b/c": "f 644 5:6 a/b/c"},
    ),
    "an archive's links lead below what it is unpacked to": (
        {"x": "tar l>/in in/ l/f"}, ["ADD x /d/"],
        {"/d": "d 755 0:0", "/d/in": "d 700 0:0", "/d/in/f": "f 644 7:0 l/f", "/d/l": "l /in"},
    ),
    "an excluded name is relative to the source": (
        {"s/f": "f", "s/g": "g"}, ["COPY --exclude=/f --exclude=g s /d/"], {"/d": "d 755 0:0", "/d/f": "f 644 0:0 f"},
    ),
    "symbolic modes know directories and what others have": (
        {**TREE, "src/run": (0o750, "r")}, ["COPY --chmod=g=u,o=,a+X src /d"],
        {"/d": "d 755 0:0", "/d/run": "f 771 0:0 r", "/d/sub": "d 771 0:0", "/d/sub/f": "f 660 0:0 f", "/d/x": "f 660 0:0 x"},
    ),
    # with the directories above
    "--parents keeps directories with their mode": (
        TREE, ["COPY --parents src/sub/f /p/"],
        {"/p": "d 755 0:0", "/p/src": "d 2711 0:0", "/p/src/sub": "d 700 0:0", "/p/src/sub/f": "f 600 0:0 f"},
    ),
    "--parents from a pivot on, at any depth": (
        {"a/b/c/f": "1", "a/b/f": "2", "a/b/c/g": "3"}, ["COPY --parents ./a/./**/f /p/"],
        {"/p": "d 755 0:0", "/p/b": "d 755 0:0", "/p/b/f": "f 644 0:0 2", "/p/b/c": "d 755 0:0", "/p/b/c/f": "f 644 0:0 1"},
    ),
    "--parents of what matches nothing": ({"a": "a"}, ["COPY --parents **/f /p/"], {}),
    # what is left out
    "--exclude of a named file does not count": (
        A, ["COPY --exclude=a.txt a.txt /d/"], {"/d": "d 755 0:0", "/d/a.txt": "f 644 0:0 a"},
    ),
    "--exclude of what a wildcard finds": (A, ["COPY --exclude=a.* *.txt /d/"], {"/d": "d 755 0:0", "/d/b.txt": "f 644 0:0 b"}),
    "--exclude in a directory, at any depth, with a variable": (
        {"s/a.o": "", "s/d/b.o": "", "s/d/k": "k"}, ["ARG what=o", "COPY --exclude=**/*.$what s /d"],
        {"/d": "d 755 0:0", "/d/d": "d 755 0:0", "/d/d/k": "f 644 0:0 k"},
    ),
    # links, and what stands in the way
    "a file takes the place of a link in a directory": (
        {"base/l": "-> there", "base/there": "old", "s/l": "new"}, ["COPY base /", "COPY s /"],
        {"/l": "f 644 0:0 new", "/there": "f 644 0:0 old"},
    ),
    "a destination that leads elsewhere is followed": (
        {"base/real/": "", "base/l": "-> real", "f": "f"}, ["COPY base /", "COPY f /l", "COPY f /l/g"],
        {"/l": "l real", "/real": "d 755 0:0", "/real/f": "f 644 0:0 f", "/real/g": "f 644 0:0 f"},
    ),
    # owners
    "numbers are their own group, names bring theirs, who is unknown is root": (
        {"etc/passwd": PASSWD, "etc/group": "extra:x:9:\n", "f": ""},
        ["COPY etc /etc", "COPY --chown=5 f /1", "COPY --chown=app f /2", "COPY --chown=app:extra f /3",
         "COPY --chown=:extra f /4", "COPY --chown=nobody:nobody f /5", "COPY --chown=app:7 f /6",
         "COPY --chown=root f /7", "COPY --chown=app: f /8"],
        {"/1": "f 644 5:5 ", "/2": "f 644 1000:1001 ", "/3": "f 644 1000:9 ", "/4": "f 644 0:9 ", "/5": "f 644 0:0 ",
         "/6": "f 644 1000:7 ", "/7": "f 644 0:0 ", "/8": "f 644 1000:0 "},
    ),
    "a working directory is of its user, a number its own group": (
        {"f": ""}, ["USER 5", "WORKDIR /w/x/", "COPY f ."], {"/w": "d 755 5:5", "/w/x": "d 755 5:5", "/w/x/f": "f 644 0:0 "},
    ),
    # ADD
    "ADD unpacks what is named, not what is in a directory": (
        {"s/in.tar": "tar f", "out.tar": "tar g"}, ["ADD s /d/", "ADD out.tar /", "ADD *.tar /e"],
        {"/d": "d 755 0:0", "/d/in.tar": None, "/g": "f 644 7:0 g", "/e": "d 755 0:0", "/e/g": "f 644 7:0 g"},
    ),
    "ADD of a directory into the root": ({"s/in.tar": "tar f"}, ["ADD s /"], {"/in.tar": None}),
    "ADD --unpack=false, and of a context with a variable in its flag": (
        {"a.tar": "tar f"}, ["ADD --unpack=false a.tar /d/", "ADD --chown=9 a.tar /e/"],
        {"/d": "d 755 0:0", "/d/a.tar": None, "/e": "d 755 9:9", "/e/f": "f 644 9:9 f"},
    ),
    "an archive replaces whatever stands there": (
        {"s/d/old": "", "s/l": "-> d", "s/f": "f", "a.tar": "tar d l/ l/in f/ f/in"}, ["COPY s /", "ADD a.tar /"],
        {"/d": "f 644 7:0 d", "/l": "d 700 0:0", "/l/in": "f 644 7:0 l/in", "/f": "d 700 0:0", "/f/in": "f 644 7:0 f/in"},
    ),
    "what a file of an archive hid stays hidden by a later directory": (
        {"s/d/old": "", "a.tar": "tar d d/ d/new"}, ["COPY s /", "ADD a.tar /"], {"/d": "d 700 0:0", "/d/new": "f 644 7:0 d/new"},
    ),
    "links of an archive are followed on the way, not at its end": (
        {"a.tar": "tar real/ l>real l/f x>real/f x"}, ["ADD a.tar /"],
        {"/l": "l real", "/real": "d 700 0:0", "/real/f": "f 644 7:0 l/f", "/x": "f 644 7:0 x"},
    ),
}  # fmt: skip
REFUSED = {
    "an archive's member outside of it": (
        {"x": "tar ../up"},
        "ADD x /d/",
        "the archive's member ../up lies outside of it",
    ),
    "a name that is missing": ({"x": "x"}, "COPY gone /", "'gone' not found in the build context"),
    "a wildcard below a directory that is missing": ({"x": "x"}, "COPY gone/* /", "'gone/*' not found"),
    "--parents of a name that is missing": ({"x": "x"}, "COPY --parents a/b /", "'a/b' not found"),
    "a directory for a link": (
        {"s/l": "-> d", "s/d/": "", "t/l/f": ""},
        "COPY s /\nCOPY t /",
        "cannot copy to non-directory: /l",
    ),
    "a directory for a file": ({"s/l": "", "t/l/f": ""}, "COPY s /\nCOPY t /", "cannot copy to non-directory: /l"),
    "a file for a directory": ({"s/l/": "", "t/l": ""}, "COPY s /\nCOPY t /", "cannot replace the directory /l"),
    "an empty directory for a file": (
        {"s/l": "", "t/": ""},
        "COPY s /\nCOPY t /l",
        "cannot copy into /l: it is not a directory",
    ),
    "a name in an empty stage": (
        {"x": "x"},
        "COPY --chown=1:app x /",
        "the stage is empty as yet, so nothing says who 'app' is",
    ),
    "a user in an empty stage": (
        {"x": "x"},
        "USER app\nWORKDIR /x",
        "the stage is empty as yet, so nothing says who 'app' is",
    ),
    "a mode that is none": ({"x": "x"}, "COPY --chmod=789 x /", "invalid chmod parameter: '789'"),
    "a mode that is too large": ({"x": "x"}, "COPY --chmod=10755 x /", "invalid chmod parameter: '10755'"),
}


@pytest.mark.parametrize("mounts", [False, True], ids=["directories", "archives"])
def test_each_case_gives_what_buildkit_gives(mounts):
    async def main():
        async with copying_bench(mounts=mounts) as b:
            wrong = {}
            for name, (files, lines, expected) in CASES.items():
                lay(b.context, files)
                result = await b.build("\n".join(["FROM scratch", *lines]))
                found = result.error["message"] if result.error else describe(result.tree)
                if isinstance(found, dict):
                    found = {path: None if path.endswith(".tar") else about for path, about in found.items()}
                    found = {path: about for path, about in found.items() if not path.startswith("/etc")}
                if found != expected:
                    wrong[name] = found
            assert wrong == {}
            assert b.leftovers == []
            archives = [layer for layer in (b.home / "root" / "layers").iterdir() if (layer / ARCHIVE).exists()]
            assert len(archives) > 40 if mounts else archives == [], len(archives)

    anyio.run(main)


@pytest.mark.parametrize("mounts", [False, True], ids=["directories", "archives"])
def test_what_cannot_be_copied_is_reported(mounts):
    async def main():
        async with copying_bench(mounts=mounts) as b:
            for files, lines, message in REFUSED.values():
                lay(b.context, files)
                result = await b.build(f"FROM scratch\n{lines}\n")
                assert result.error is not None, lines
                assert message in result.error["message"], result.error

    anyio.run(main)


@pytest.mark.parametrize("mounts", [False, True], ids=["directories", "archives"])
def test_hard_links_stay_links_in_directories_stages_and_contexts(mounts):
    async def main():
        async with copying_bench(mounts=mounts) as b:
            lay(b.context, {"s/a": "x" * 1000, "s/b": "= s/a", "s/d/c": "= s/a"})
            result = await b.build(
                "FROM scratch AS one\nCOPY s /\nFROM scratch\nCOPY --from=one / /\nCOPY s/a s/b /two/\n"
            )
            infos = [result.info(path) for path in ("/a", "/b", "/d/c")]
            assert {info.st_ino for info in infos} == {infos[0].st_ino}
            assert infos[0].st_nlink == 3
            assert result.info("/two/a").st_ino != result.info("/two/b").st_ino, "these came as two sources"
            assert result.image.size_bytes == 3000

    anyio.run(main)


@pytest.mark.parametrize("mounts", [False, True], ids=["directories", "archives"])
def test_the_mode_of_the_directory_itself_makes_no_other_step(mounts):
    async def main():
        async with copying_bench(mounts=mounts) as b:
            lay(b.context, {"s/": (0o700, ""), "s/f": "f"})
            first = await b.build("FROM scratch\nCOPY s /d\n")
            (b.context / "s").chmod(0o755)
            again = await b.build("FROM scratch\nCOPY s /d\n")
            assert "Using cache" in again.text
            assert again.image.id == first.image.id

    anyio.run(main)


@pytest.mark.parametrize("mounts", [False, True], ids=["directories", "archives"])
def test_an_owner_that_nobody_knows_is_warned_of(mounts):
    async def main():
        async with copying_bench(mounts=mounts) as b:
            lay(b.context, {"f": ""})
            assert (
                "the image knows no 'ghost'"
                in (await b.build("FROM scratch\nCOPY f /\nCOPY --chown=ghost f /g\n")).text
            )

    anyio.run(main)


@pytest.mark.parametrize("mounts", [False, True], ids=["directories", "archives"])
def test_a_linked_copy_is_taken_from_the_cache_on_another_base(mounts):
    async def main():
        async with copying_bench(mounts=mounts) as b:
            lay(b.context, TREE)
            copy = "COPY --link --chown=3:4 src /app/src\n"
            first = await b.build(f"FROM scratch AS base\nLABEL v=1\nFROM base\n{copy}COPY src/x /y\n")
            lay(b.context, {**TREE, "base": "changed"})
            # the base is another one now, but nothing of it is in the way of the copy
            second = await b.build(f"FROM scratch AS base\nCOPY base /base\nFROM base\n{copy}COPY src/x /y\n")
            assert second.text.count("Using cache") == 1
            assert second.image.diff_ids[1] == first.image.diff_ids[0]
            assert second.image.config["history"][1]["created_by"] == "COPY --chown=3:4 src /app/src # buildkit"
            assert second.read("/app/src/x") == "x"
            # a directory that is there is a part of the layer, and links are followed
            lay(b.context, {**TREE, "other/app/": (0o700, "")})
            third = await b.build(f"FROM scratch AS base\nCOPY other /\nFROM base\n{copy}")
            assert "Using cache" not in third.text
            assert stat.S_IMODE(third.info("/app").st_mode) == 0o700
            lay(b.context, {**TREE, "other/app": "-> real"})
            fourth = await b.build(f"FROM scratch AS base\nCOPY other /\nFROM base\n{copy}")
            assert "Using cache" not in fourth.text
            assert fourth.read("/real/src/x") == "x"
            plain = await b.build(f"FROM scratch AS base\nCOPY src/x /z\nFROM base\n{copy.replace('--link ', '')}")
            assert "Using cache" not in plain.text

    anyio.run(main)


def test_a_copy_is_the_same_layer_to_the_byte_whether_its_files_are_created_or_not():
    files = {
        "s/b.txt": "b", "s/a/": (0o2711, ""), "s/a/é\udcff": "odd name", "s/a.txt": (0o4750, "setuid"), "s/l": "-> a/é",
        "s/hard": "= s/b.txt", "s/a/hard": "= s/b.txt", "s/empty": "", f"s/{'n' * 120}": "long", "s/large": "x" * 3_000_000,
    }  # fmt: skip

    async def main():
        found = []
        for mounts in (False, True):
            async with copying_bench(mounts=mounts) as b:
                lay(b.context, files)
                for number, path in enumerate(sorted(b.context.rglob("*"), reverse=True)):
                    os.utime(path, ns=(0, 1_700_000_000_999_999_999 + number), follow_symlinks=False)
                result = await b.build("FROM scratch\nCOPY --chown=3:70000 s /\n")
                assert result.error is None
                (diff_id,) = result.image.diff_ids
                assert (b.home / "root" / "layers" / diff_id.partition(":")[2] / ARCHIVE).exists() == mounts
                found.append((diff_id, result.image.size_bytes))
                out = io.BytesIO()
                b.images.layers.source(diff_id).write(out)
                assert f"sha256:{hashlib.sha256(out.getvalue()).hexdigest()}" == diff_id
        assert found[0] == found[1]

    anyio.run(main)


def test_a_file_from_before_1970_is_copied_with_its_time():
    async def main():
        async with copying_bench(mounts=True) as b:
            lay(b.context, {"old": "old"})
            os.utime(b.context / "old", (-86_400, -86_400))
            result = await b.build("FROM scratch\nCOPY old /\n")
            assert result.error is None
            assert result.read("/old") == "old"
            assert result.info("/old").st_mtime == -86_400

    anyio.run(main)


def test_a_damaged_layer_is_made_again_by_the_next_build():
    async def main():
        async with copying_bench(mounts=True) as b:
            lay(b.context, {"f": "content"})
            first = await b.build("FROM scratch\nCOPY f /\n")
            assert first.read("/f") == "content"
            os.truncate(b.images.layers.place(first.image.diff_ids[0]).parent / ARCHIVE, 512)
            second = await b.build("FROM scratch\nCOPY f /\n")
            assert second.image.diff_ids == first.image.diff_ids
            assert second.read("/f") == "content"

    anyio.run(main)
