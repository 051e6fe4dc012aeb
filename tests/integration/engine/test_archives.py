"""What an archive does to the files of a container (Docker Engine API, "Extract an archive")."""

import io
import tarfile

import pytest

pytestmark = pytest.mark.root


def archive(**files):
    """A tar archive: text makes a file, None a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.uid = member.gid = 7
            if text is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
            else:
                member.size, member.mode = len(text), 0o644
                tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def put(api, id, path, data, query=""):
    answer = api.ask("PUT", f"/containers/{id}/archive?path={path}{query}", data, Content_Type="application/x-tar")
    assert answer.status == 200, answer.body


def seen(api, id, command):
    """What `command` prints in the container."""
    made = api.ask("POST", f"/containers/{id}/exec", {"Cmd": ["sh", "-c", command], "AttachStdout": True, "Tty": True})
    started = api.ask("POST", f"/exec/{made.json['Id']}/start", {"Detach": False, "Tty": True})
    return started.body.decode().replace("\r\n", "\n")


def test_files_belong_to_the_user_of_the_container_where_that_is_asked_for(api, containers):
    id = containers("sleep", "60", User="app")
    put(api, id, "/home/app", archive(given=""))
    put(api, id, "/home/app", archive(asked="", folder=None), "&copyUIDGID=1")
    assert seen(api, id, "stat -c '%n %u:%g' /home/app/*") == (
        "/home/app/asked 1000:1000\n/home/app/folder 1000:1000\n/home/app/given 7:7\n"
    )


def test_without_a_user_the_archive_says_whose_its_files_are(api, containers):
    id = containers("sleep", "60")
    put(api, id, "/tmp", archive(file=""), "&copyUIDGID=1")
    assert seen(api, id, "stat -c %u:%g /tmp/file") == "7:7\n"


def test_a_file_takes_the_place_of_what_was_there_and_is_not_written_through_it(api, containers):
    id = containers("sleep", "60")
    seen(api, id, "cd /tmp; mkdir -p a; touch a/b; echo kept > real; ln -s real link; mkdir merged; touch merged/old")
    put(api, id, "/tmp", archive(a="new", link="other", merged=None))
    assert seen(api, id, "cd /tmp; cat a real; test -L link || cat link; ls merged") == "newkept\notherold\n"


def test_a_link_to_a_directory_stays_a_link(api, containers):
    id = containers("sleep", "60")
    seen(api, id, "cd /tmp; mkdir real; ln -s real link; mkdir folder")
    put(api, id, "/tmp", archive(link=None, **{"link/file": "new"}))
    assert seen(api, id, "cd /tmp; readlink link; cat real/file") == "real\nnew"
    for changed in ({"link": None}, {"folder": "a file"}):
        path = f"/containers/{id}/archive?path=/tmp&noOverwriteDirNonDir=1"
        refused = api.ask("PUT", path, archive(**changed), Content_Type="application/x-tar")
        assert (refused.status, "cannot overwrite" in refused.message, "Errno" in refused.message) == (400, True, False)


@pytest.mark.parametrize("path", ["/tmp/link", "/tmp/link/", "/tmp/link/."])
def test_what_is_unpacked_into_a_link_goes_where_it_leads(api, containers, path):
    id = containers("sleep", "60")
    seen(api, id, "cd /tmp; mkdir real; ln -s real link")
    put(api, id, path, archive(**{".": None, "./folder": None, "./folder/file": "new"}), "&noOverwriteDirNonDir=1")
    assert seen(api, id, "cd /tmp; cat real/folder/file; test -L link && echo ' link'") == "new link\n"


def test_a_program_that_runs_can_be_replaced(api, containers):
    id = containers("sh", "-c", "cp /bin/busybox /tmp/sleep; exec /tmp/sleep 60")
    seen(api, id, "until [ $(readlink /proc/1/exe) = /tmp/sleep ]; do :; done")
    put(api, id, "/tmp", archive(sleep="new"))
    assert seen(api, id, "cat /tmp/sleep") == "new"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [("/nosuch", 404, "Could not find the file"), ("/etc/passwd", 400, "extraction point is not a directory")],
)
def test_there_must_be_a_directory_to_unpack_into(api, containers, path, status, said):
    id = containers("sleep", "60")
    answer = api.ask("PUT", f"/containers/{id}/archive?path={path}", archive(file=""), Content_Type="application/x-tar")
    assert (answer.status, said in answer.message) == (status, True), answer.message


def test_capabilities_of_files_go_into_containers_and_out(api, containers):
    capability = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep
    id = containers("sleep", "60")
    header = {"SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape")}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("able")
        member.pax_headers = header
        tar.addfile(member)
    put(api, id, "/tmp", out.getvalue())
    for path, name in ((f"/containers/{id}/export", "tmp/able"), (f"/containers/{id}/archive?path=/tmp/able", "able")):
        with tarfile.open(fileobj=io.BytesIO(api.ask("GET", path).body)) as tar:
            found = next(member for member in tar if member.name.removeprefix("./") == name)
            assert found.pax_headers == header


def names(api, path):
    with tarfile.open(fileobj=io.BytesIO(api.ask("GET", path).body)) as tar:
        return {member.name: tar.extractfile(member).read() if member.isreg() else None for member in tar}


def test_a_path_that_ends_in_a_dot_means_what_is_in_the_directory(api, containers):
    id = containers("sleep", "60")
    seen(api, id, "mkdir /d && echo x > /d/f && ln /d/f /d/g")
    assert names(api, f"/containers/{id}/archive?path=/d/.") == {".": None, "./f": b"x\n", "./g": None}
    assert names(api, f"/containers/{id}/archive?path=/d") == {"d": None, "d/f": b"x\n", "d/g": None}
    assert names(api, f"/containers/{id}/archive?path=/d/f") == {"f": b"x\n"}


def test_what_the_kernel_shows_is_left_out_of_the_tree_and_read_where_it_is_asked_for(api, containers):
    id = containers("sleep", "60")
    found = names(api, f"/containers/{id}/archive?path=/.")
    assert {"./proc", "./sys", "./dev", "./bin/busybox", "./etc/hosts"} <= set(found)
    assert not [name for name in found if name.startswith(("./proc/", "./sys/", "./dev/"))]
    assert names(api, f"/containers/{id}/archive?path=/proc/version")["version"].startswith(b"Linux version")
    exported = names(api, f"/containers/{id}/export")
    assert {"bin/busybox", ".dockerenv", "proc", "etc/mtab"} <= set(exported)
    assert not [name for name in exported if name.startswith((".", "/")) and name != ".dockerenv"]


def test_members_stay_below_the_directory_that_was_asked_for(api, containers):
    id = containers("sleep", "60")
    seen(api, id, "mkdir /d /tmp/kept")
    put(api, id, "/d", archive(**{"/absolute/f": "a", "./b/../c": "c"}))
    assert seen(api, id, "cat /d/absolute/f /d/c; ls -d /absolute").startswith("ac")
    for name in ("../outside", "a/../../outside", "/../../outside"):
        refused = api.ask(
            "PUT", f"/containers/{id}/archive?path=/d", archive(**{name: "x"}), Content_Type="application/x-tar"
        )
        assert refused.status == 400
        assert refused.message == f"can't extract into /d: {name} is outside of the directory"
    assert "No such file" in seen(api, id, "ls /outside")


@pytest.mark.parametrize(
    ("link", "is_taken"), [("../../x", False), ("../d/f", True), ("/etc/passwd", True), ("..", True)]
)
def test_links_of_an_archive_lead_nowhere_outside_but_by_absolute_names(api, containers, link, is_taken):
    id = containers("sleep", "60")
    seen(api, id, "mkdir /d")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("in/link")
        member.type, member.linkname = tarfile.SYMTYPE, link
        tar.addfile(member)
    answer = api.ask("PUT", f"/containers/{id}/archive?path=/d", out.getvalue(), Content_Type="application/x-tar")
    if is_taken:
        assert answer.status == 200, answer
        assert seen(api, id, "readlink /d/in/link") == f"{link}\n"
    else:
        assert answer.status == 400
        assert answer.message == f'can\'t extract into /d: invalid symlink "/d/in/link" -> "{link}"'


def test_programs_see_that_they_run_in_a_container_and_what_is_mounted(api, containers):
    id = containers("sleep", "60")
    assert (
        seen(api, id, "test -f /.dockerenv && readlink /etc/mtab && grep -c ' / overlay ' /etc/mtab")
        == "/proc/mounts\n1\n"
    )
    assert api.ask("GET", f"/containers/{id}/changes").json is None
