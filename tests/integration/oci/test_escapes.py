"""Images, volumes and containers that try to reach what is the host's: all of it stays inside, or is refused."""

import io
import os
import sys
import tarfile

import pytest

from runtime.errors import EngineError
from tests.support.probes import entry, host_folder

pytestmark = pytest.mark.root


@pytest.fixture
def outside(tmp_path):
    """A folder of the host with one file, which is to stay as it is."""
    folder = host_folder(tmp_path, "outside")
    yield folder
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"secret": "of the host"}


def test_links_in_the_place_of_mount_points_lead_inside_alone(prober, outside):
    up = "../" * 20
    image = prober.image(
        "links",
        [
            entry("dev", link=outside),
            entry("etc/hosts", link=outside / "secret"),
            entry("etc/hostname", link=f"{up}{outside}/secret"),
            entry("etc/resolv.conf", link="../run/made/resolv.conf"),
            entry("data", link=f"{up}{outside}"),
            entry("work", link=outside),
        ],
    )
    result = prober.run(
        "cat /etc/hostname; ls /dev/null /dev/pts/ptmx /data/kept; ls -d /run/made/resolv.conf; pwd",
        image=image, host={"NetworkMode": "bridge", "Tmpfs": {"/data/kept": ""}}, WorkingDir="/work/x", Hostname="box",
    )  # fmt: skip
    assert result.code == 0, result
    assert result.lines[:3] == ["box", "/dev/null", "/dev/pts/ptmx"]
    assert result.lines[-1] == f"{outside}/x"  # a folder of that name, inside


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_are_where_they_are_looked_for(prober, outside, name):
    image = prober.image(f"no{name}", [entry(name, link=outside)])
    with pytest.raises(EngineError, match="must be mounted on an ordinary directory"):
        prober.run("true", image=image)


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/self/attr", "/innocent"])
def test_nothing_is_mounted_over_what_the_kernel_reports(prober, target):
    image = prober.image("toproc", [entry("innocent", link="/proc/sys/kernel")])
    with pytest.raises(EngineError, match="cannot be mounted because it is inside /proc"):
        prober.run("true", image=image, host={"Binds": [f"/tmp:{target}"]})


def test_a_link_in_a_volume_leads_no_subpath_outside(prober, outside):
    prober.client.create_volume({"Name": "tricky"})
    prober.run(
        f"ln -s {outside} /v/out; ln -s inside /v/in; mkdir /v/inside; echo mine > /v/inside/f",
        host={"Binds": ["tricky:/v"]},
    )

    def mounted(subpath):
        mount = {"Type": "volume", "Source": "tricky", "Target": "/m", "VolumeOptions": {"Subpath": subpath}}
        return prober.run("cat /m/*", host={"Mounts": [mount]})

    assert mounted("in").out == "mine\n"
    with pytest.raises(EngineError):
        mounted("out")
    prober.client.remove_volume("tricky")


def test_a_directory_of_the_host_that_somebody_left_open_is_no_working_directory(prober):
    # CVE-2024-21626: a WORKDIR by way of a descriptor that the runtime has open
    for number in range(3, 12):
        image = prober.image(f"cwd{number}", [], WorkingDir=f"/proc/self/fd/{number}")
        with pytest.raises(EngineError, match="chdir to cwd"):
            prober.run("cat ../../../../etc/shadow", image=image)


def test_account_files_that_are_pipes_or_endless_hold_nothing_up(prober):
    image = prober.image("pipes", [entry("etc/passwd", kind=tarfile.FIFOTYPE), entry("etc/group", link="/dev/zero")])
    assert prober.run("grep Uid /proc/self/status", image=image, User="7").out == "Uid:\t7\t7\t7\t7\n"
    with pytest.raises(EngineError, match="unable to find user app"):
        prober.run("true", image=image, User="app")


def test_masked_paths_do_not_depend_on_what_the_image_calls_null(prober):
    # CVE-2025-31133: /dev/null of the container as something else
    host = {"Binds": ["/tmp:/dev"]}
    assert prober.run("cat /proc/keys /proc/timer_list 2>/dev/null | wc -c", host=host).out == "0\n"


def test_the_interpreter_of_the_host_can_be_reached_but_not_written(prober):
    # CVE-2019-5736: an image that executes what its runtime is
    image = prober.image("self", [entry("bin/self", link="/proc/self/exe")])
    with pytest.raises(EngineError, match="exec"):
        prober.execute("/bin/self", "-c", "pass", image=image)
    pid = prober.home.get("/skiff/v1/engine")["keeper_pid"]
    assert os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY


def test_a_process_that_comes_in_can_not_be_looked_into(prober):
    id = prober.create(
        "sh", "-c", "while :; do for p in /proc/[0-9]*; do readlink $p/exe; done; done", host={"CapAdd": ["SYS_PTRACE"]}
    )
    prober.client.start(id)
    for _ in range(10):
        assert prober.exec(id, "true")[0] == 0
    prober.client.kill(id)
    prober.client.wait(id)
    assert "python" not in prober.output(id)[0].replace(os.path.realpath(sys.executable), "")
    prober.client.remove(id)


def test_copying_out_of_a_container_runs_nothing_of_it(prober, tmp_path):
    # CVE-2019-14271, and its like with Python's modules: what the copier looks up would be the image's
    marker = tmp_path / "ran"
    trap = f"import os; os.system('echo ran >> {marker}')".encode()
    library = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    members = [entry("etc/nsswitch.conf", b"passwd: evil\ngroup: evil\n"), entry("file", b"content", uid=4321)]
    for place in {f"usr/{library}", f"usr/local/{library}", os.path.dirname(os.__file__).lstrip("/")}:
        members += [
            entry(f"{place}/{name}.py", trap) for name in ("bz2", "lzma", "gzip", "encodings/trap", "traceback")
        ]
    image = prober.image("trap", members)
    id = prober.create("sleep", "100", image=image)
    for started in (False, True):
        if started:
            prober.client.start(id)
        data = b"".join(prober.client.archive_get(id, "/file"))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            (member,) = tar.getmembers()
            assert (member.uid, member.uname) == (4321, "")
        for mode in ("gz", "bz2", "xz"):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode=f"w:{mode}") as tar:
                one = tarfile.TarInfo(f"copied.{mode}")
                one.size = 3
                tar.addfile(one, io.BytesIO(b"yes"))
            prober.client.archive_put(id, "/", [out.getvalue()])
    assert prober.exec(id, "cat", "/copied.gz", "/copied.bz2", "/copied.xz")[1] == "yesyesyes"
    prober.client.remove(id, force=True)
    assert not marker.exists()


def test_a_read_only_volume_is_so_all_the_way_down(prober, tmp_path):
    (tmp_path / "inner").mkdir()
    result = prober.run(
        "touch /v/x 2>&1; mount -o remount,rw,bind /v 2>&1; touch /v/inner/y 2>&1",
        host={"Binds": [f"{tmp_path}:/v:ro"]},
    )
    assert result.code == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "inner"]
