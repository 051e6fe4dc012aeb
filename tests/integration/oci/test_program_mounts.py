"""`skiff oci`: mounts with every kind of option, and how they spread (config.md, "Mounts")."""

import os
import subprocess

import pytest

pytestmark = pytest.mark.root


def with_mount(document, destination, source="tmpfs", type="tmpfs", options=(), **more):
    entry = {"destination": destination, "type": type, "source": str(source), "options": list(options), **more}
    document["mounts"].append(entry)
    return document


def bound(document, source, destination="/data", options=("rbind",), **more):
    return with_mount(document, destination, source, "none", options, **more)


@pytest.fixture
def source(oci):
    """A directory with a file, and with a mount in it that has a file too."""
    folder = oci.folder / "source"
    (folder / "below").mkdir(parents=True)
    folder.chmod(0o777)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "below"], check=True)
    (folder / "file").write_text("content")
    (folder / "below/file").write_text("below")
    yield folder
    subprocess.run(["umount", "-R", folder / "below"], check=True)
    subprocess.run(["rm", "-r", folder], check=True)


def test_a_directory_is_bound_with_or_without_what_is_mounted_in_it(oci, source):
    shell = "cat /data/file /data/below/file 2>/dev/null"
    assert oci.run(bound(oci.document("sh", "-c", shell), source), check=False).stdout == "contentbelow"
    document = bound(oci.document("sh", "-c", shell), source, options=["bind"])
    assert oci.run(document, check=False).stdout == "content"


def test_a_file_is_bound(oci, source):
    document = bound(
        oci.document("sh", "-c", "cat /etc/bound; echo more >> /etc/bound"), source / "file", "/etc/bound", ["bind"]
    )
    assert oci.run(document).stdout == "content"
    assert (source / "file").read_text() == "contentmore\n"


@pytest.mark.parametrize(
    ("options", "top", "below"),
    [
        (["rbind"], True, True),
        (["rbind", "ro"], False, True),
        (["rbind", "rro"], False, False),
        (["rbind", "rro", "rrw"], True, True),
        (["rbind", "ro", "rw"], True, True),
    ],
)
def test_read_only_reaches_as_far_as_the_option_says(oci, source, options, top, below):
    shell = "touch /data/t 2>/dev/null && echo top; touch /data/below/t 2>/dev/null && echo below; true"
    found = oci.run(bound(oci.document("sh", "-c", shell), source, options=options)).stdout.split()
    assert found == [name for name, writable in (("top", top), ("below", below)) if writable]


def test_recursive_attributes_are_those_of_every_mount(oci, source):
    options = ["rbind", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnosymfollow"]
    document = bound(oci.document("grep", " /data", "/proc/self/mountinfo"), source, options=options)
    lines = oci.run(document).stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert {"nosuid", "nodev", "noexec", "noatime", "nosymfollow"} <= set(line.split()[5].split(","))


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["nosuid", "nodev", "noexec", "ro"], {"ro", "nosuid", "nodev", "noexec"}),
        (["noatime"], {"rw", "noatime"}),
        (["nodiratime", "relatime"], {"nodiratime", "relatime"}),
        (["nosuid", "suid", "nodev", "dev", "noexec", "exec", "ro", "rw"], {"rw", "relatime"}),
        (["nosymfollow"], {"nosymfollow"}),
        (["mode=711", "size=4m", "uid=7"], {"rw"}),
    ],
)
def test_options_are_what_the_kernel_shows(oci, options, shown):
    document = with_mount(oci.document("grep", " /data ", "/proc/self/mountinfo"), "/data", options=options)
    fields = oci.run(document).stdout.split()
    assert shown <= set(fields[5].split(","))
    if "size=4m" in options:
        assert {"size=4096k", "mode=711", "uid=7"} <= set(fields[-1].split(","))
    if "suid" in options:
        assert not {"nosuid", "nodev", "noexec", "ro"} & set(fields[5].split(","))


def test_an_option_that_no_filesystem_has_is_reported(oci):
    done = oci.run(with_mount(oci.document("true"), "/data", options=["nothing=known"]), check=False)
    assert done.returncode == 1
    assert "invalid argument" in done.stderr


def test_what_a_tmpfs_covers_is_copied_up(oci):
    home = oci.rootfs / "copied"
    (home / "deep").mkdir(parents=True)
    (home / "deep/file").write_text("x" * 100000)
    (home / "link").symlink_to("deep/file")
    (home / "deep/file").chmod(0o640)
    os.chown(home / "deep/file", 5, 6)
    home.chmod(0o751)
    shell = "stat -c '%a %u %g %s' /copied /copied/deep/file; readlink /copied/link; rm -r /copied/deep; ls /copied"
    document = with_mount(oci.document("sh", "-c", shell), "/copied", options=["tmpcopyup"])
    lines = oci.run(document).stdout.splitlines()
    assert lines[0].startswith("751 0 0")
    assert lines[1:] == ["640 5 6 100000", "deep/file", "link"]
    assert (home / "deep/file").exists()


@pytest.mark.parametrize("kind", ["private", "slave", "shared", "unbindable"])
def test_a_mount_spreads_as_its_option_says(oci, kind):
    document = with_mount(oci.document("grep", " /data ", "/proc/self/mountinfo"), "/data", options=[kind])
    tags = oci.run(document).stdout.split(" - ")[0].split()[6:]
    expected = {"private": [], "slave": [], "shared": ["shared:"], "unbindable": ["unbindable"]}[kind]
    assert [tag.split(":")[0] for tag in tags] == [one.rstrip(":") for one in expected]


@pytest.mark.parametrize(
    ("kind", "tag"), [("shared", "shared"), ("private", ""), ("unbindable", "unbindable"), ("slave", "")]
)
def test_the_root_spreads_as_the_document_says(oci, kind, tag):
    document = oci.document("cat", "/proc/self/mountinfo")
    document["linux"]["rootfsPropagation"] = kind
    root = next(line for line in oci.run(document).stdout.splitlines() if line.split()[4] == "/")
    tags = [one.split(":")[0] for one in root.split(" - ")[0].split()[6:]]
    assert [one for one in tags if one != "master"] == ([tag] if tag else [])


def test_a_mount_of_the_host_reaches_a_slave(oci):
    """What is mounted on the host after the creation is seen where the bind is a slave of the host's."""
    folder = oci.folder / "spreads"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    subprocess.run(["mount", "--make-shared", folder], check=True)
    try:
        (folder / "below").mkdir()
        document = bound(oci.document("sleep", "1000"), folder, options=["rbind", "rslave"])
        identity = oci.started(document)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder / "below"], check=True)
        (folder / "below/late").write_text("late")
        assert oci("exec", identity, "cat", "/data/below/late").stdout == "late"
        oci("delete", "--force", identity)
    finally:
        subprocess.run(["umount", "-R", folder], check=True)
        folder.rmdir()


@pytest.mark.parametrize(("option", "reaches"), [([], False), (["rslave"], False), (["rshared"], True)])
def test_a_mount_in_the_container_reaches_the_host_only_on_request(oci, option, reaches):
    folder = oci.folder / "reached"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    subprocess.run(["mount", "--make-shared", folder], check=True)
    try:
        (folder / "below").mkdir()
        identity = oci.started(bound(oci.document("sleep", "1000"), folder, options=["rbind", *option]))
        shell = "mount -t tmpfs tmpfs /data/below && touch /data/below/inside"
        oci("exec", "--cap", "CAP_SYS_ADMIN", identity, "sh", "-c", shell)
        assert (folder / "below/inside").exists() == reaches
        oci("delete", "--force", identity)
    finally:
        subprocess.run(["umount", "-R", folder], check=True)
        folder.rmdir()


def test_a_mapped_root_gets_what_only_the_caller_may_reach(oci, tmp_path):
    (tmp_path / "kept").mkdir(mode=0o755)
    (tmp_path / "kept/file").write_text("reached")
    tmp_path.chmod(0o700)
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    document = bound(oci.document("cat", "/data/file"), tmp_path / "kept", options=["rbind", "ro", "nosuid"])
    document["linux"].update(uidMappings=mapping, gidMappings=mapping)
    document["linux"]["namespaces"].append({"type": "user"})
    subprocess.run(["chown", "-R", "100000:100000", oci.rootfs], check=True)
    try:
        assert oci.run(document).stdout == "reached"
    finally:
        subprocess.run(["chown", "-R", "0:0", oci.rootfs], check=True)


@pytest.fixture
def mappable(oci):
    """As `source`, of the filesystem of /tmp throughout: tmpfs maps owners since Linux 6.3 alone."""
    folder, other = oci.folder / "mappable", oci.folder / "other"
    (folder / "below").mkdir(parents=True)
    other.mkdir()
    folder.chmod(0o777)
    (folder / "file").write_text("content")
    (other / "file").write_text("below")
    (folder / "file").chmod(0o600)
    subprocess.run(["mount", "--bind", other, folder / "below"], check=True)
    yield folder
    subprocess.run(["umount", folder / "below"], check=True)
    subprocess.run(["rm", "-r", folder, other], check=True)


def test_owners_are_mapped(oci, mappable):
    mapping = [{"containerID": 0, "hostID": 5000, "size": 1000}]
    shell = "stat -c '%u %g' /data/file; stat -c %u /data/below/file; touch /data/new"
    document = bound(
        oci.document("sh", "-c", shell),
        mappable,
        options=["rbind", "idmap"],
        uidMappings=mapping,
        gidMappings=mapping,
    )
    document["process"]["user"] = {"uid": 5001, "gid": 5002}
    assert oci.run(document).stdout.splitlines() == ["5000 5000", "0"]
    made = (mappable / "new").stat()
    assert (made.st_uid, made.st_gid) == (1, 2)
    document["mounts"][-1]["options"] = ["rbind", "ridmap"]
    assert oci.run(document).stdout.splitlines() == ["5000 5000", "5000"]


def test_owners_are_mapped_as_the_containers_users_are(oci, mappable):
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    document = bound(
        oci.document("sh", "-c", "stat -c '%u %g' /data/file; cat /data/file"), mappable, options=["bind", "idmap"]
    )
    document["linux"].update(uidMappings=mapping, gidMappings=mapping)
    document["linux"]["namespaces"].append({"type": "user"})
    subprocess.run(["chown", "-R", "100000:100000", oci.rootfs], check=True)
    try:
        assert oci.run(document).stdout == "0 0\ncontent"
    finally:
        subprocess.run(["chown", "-R", "0:0", oci.rootfs], check=True)


def test_a_filesystem_can_not_be_mapped_where_it_is_new(oci):
    document = with_mount(oci.document("true"), "/data", options=["idmap"])
    assert "only a bind mount can map IDs" in oci.run(document, check=False).stderr


def test_links_in_the_root_lead_nowhere_else(oci, source):
    (oci.rootfs / "out").symlink_to("/../../../../../etc")
    document = bound(oci.document("sh", "-c", "ls /etc/inside"), source, "/out/inside")
    assert oci.run(document).stdout.split() == ["below", "file"]
    assert not os.path.exists("/etc/inside")


def test_the_cgroup_view_shows_the_container_its_own(oci):
    document = oci.document("sh", "-c", "cat /proc/self/cgroup; ls /sys/fs/cgroup; touch /sys/fs/cgroup/x 2>&1")
    out = oci.run(document, check=False).stdout
    assert {line.split(":")[2] for line in out.splitlines() if line.count(":") == 2 and "skiff" in line} == set()
    assert "Read-only file system" in out


def test_proc_is_kept_from_being_covered(oci, source):
    document = bound(oci.document("true"), source, "/proc/self")
    assert "inside /proc" in oci.run(document, check=False).stderr
