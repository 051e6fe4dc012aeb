"""What a container's process finds around it, as Docker provides it."""

import os
import re
import resource
import tarfile
from pathlib import Path

import pytest

from runtime.oci import defaults
from runtime.oci.cgroup import Cgroups
from tests.support.probes import entry

pytestmark = pytest.mark.root

DEFAULT_CAPABILITIES = "00000000a80425fb"
NO_CAPABILITIES = "0000000000000000"


def sections(text):
    """Split output that has "== name" lines."""
    found = {}
    for part in re.split(r"^== ", text, flags=re.M)[1:]:
        name, _, body = part.partition("\n")
        found[name] = body.strip("\n")
    return found


def own_capabilities():
    """The mask of what the engine has, and so can give."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"CapPrm:\s*(\w+)", status)[1], 16)


def may_raise():
    """Whether limits can be raised: an engine that is confined itself can't."""
    return bool(own_capabilities() >> 24 & 1)


@pytest.fixture(scope="module")
def plain(prober):
    """One container with nothing special, asked about everything at once."""
    script = r"""
    echo == pid; echo $$; cat /proc/1/comm
    echo == namespaces; for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done
    echo == status; cat /proc/self/status
    echo == fds; ls /proc/self/fd
    echo == dev; ls -ln /dev
    echo == pts; ls -ln /dev/pts
    echo == mounts; cat /proc/self/mounts
    echo == env; env
    echo == cgroup; cat /proc/self/cgroup
    echo == umask; umask
    echo == session; cut -d' ' -f5-8 /proc/self/stat
    echo == limits; cat /proc/self/limits
    echo == write; for p in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/x /proc/irq/0/x /sys/fs/cgroup/x; do
        (echo 1 > $p) 2>&1 | sed 's/.*: //'; done
    echo == masked; cat /proc/kcore /proc/keys /proc/timer_list /proc/interrupts 2>/dev/null
    ls -A /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v :
    echo == oom; cat /proc/self/oom_score_adj
    echo == time; cat /proc/self/timens_offsets
    echo == keyring; cat /proc/sys/kernel/keys/maxkeys >/dev/null; echo ok
    echo == cwd; pwd; ls -ld .
    echo == id; id
    """
    result = prober.run(script, Hostname="plain", Domainname="example.org")
    assert result.code == 0, result
    return sections(result.out)


def test_the_process_is_pid_1_in_namespaces_of_its_own(plain):
    assert plain["pid"] == "1\nsh"
    inside = plain["namespaces"].splitlines()
    names = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
    shared = [name for name, one in zip(names, inside, strict=True) if one == os.readlink(f"/proc/self/ns/{name}")]
    assert shared == ([] if Cgroups().is_unified else ["cgroup"])  # as in Docker


def test_capabilities_signals_and_filter_are_dockers(plain):
    status = dict(line.split(":\t", 1) for line in plain["status"].splitlines() if ":\t" in line)
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert status[name] == DEFAULT_CAPABILITIES
    assert status["CapInh"] == status["CapAmb"] == NO_CAPABILITIES
    assert int(status["SigBlk"], 16) == int(status["SigIgn"], 16) == 0
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "0")
    assert status["Groups"].split() == ["0"]


def test_nothing_but_the_standard_streams_is_open(plain):
    assert plain["fds"].split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


def test_devices_have_the_modes_and_links_of_dockers(plain):
    rows = {line.split()[-1]: line.split() for line in plain["dev"].splitlines()[1:] if "->" not in line}
    for name, numbers in {
        "null": "1, 3", "zero": "1, 5", "full": "1, 7", "random": "1, 8", "urandom": "1, 9", "tty": "5, 0",
    }.items():  # fmt: skip
        assert rows[name][0] == "crw-rw-rw-"
        assert " ".join(rows[name][4:6]) == numbers
    links = dict(re.findall(r"(\S+) -> (\S+)", plain["dev"]))
    assert links == {
        "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
        "ptmx": "pts/ptmx", "core": "/proc/kcore",
    }  # fmt: skip
    assert sorted({*rows} - {"null", "zero", "full", "random", "urandom", "tty"}) == ["mqueue", "pts", "shm"]
    assert plain["pts"].split()[2:3] == ["crw-rw-rw-"]  # ptmx alone, for everybody


def test_mounts_have_the_flags_of_dockers(plain):
    rows = {line.split()[1]: line.split() for line in plain["mounts"].splitlines()}
    assert rows["/"][2] == "overlay"
    for point, kind, wanted in (
        ("/proc", "proc", {"rw", "nosuid", "nodev", "noexec"}),
        ("/dev", "tmpfs", {"rw", "nosuid", "size=65536k", "mode=755"}),
        ("/dev/pts", "devpts", {"rw", "nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"}),
        ("/dev/shm", "tmpfs", {"rw", "nosuid", "nodev", "noexec", "size=65536k"}),
        ("/dev/mqueue", "mqueue", {"rw", "nosuid", "nodev", "noexec"}),
        ("/sys", "sysfs", {"ro", "nosuid", "nodev", "noexec"}),
        ("/proc/sys", "proc", {"ro", "nosuid", "nodev", "noexec"}),
        ("/proc/kcore", "devtmpfs", {"rw"}),
        ("/sys/firmware", "tmpfs", {"ro", "size=0k"}),
    ):
        if point in rows:
            assert rows[point][2] in (kind, "tmpfs")
            assert wanted <= set(rows[point][3].split(",")), point
        else:
            assert not os.path.exists(point), point
    assert {path for path in rows if path.startswith("/proc/")} <= {*defaults.MASKED_PATHS, *defaults.READ_ONLY_PATHS}
    assert "/dev/vda" not in plain["mounts"].replace("/etc/", "")[:200]


def test_the_kernel_can_be_neither_set_nor_looked_into(plain):
    assert set(plain["write"].splitlines()) <= {"Read-only file system", "nonexistent directory"}
    assert plain["masked"] == ""


def test_the_environment_is_the_images_and_nothing_of_the_hosts(plain):
    names = {line.partition("=")[0] for line in plain["env"].splitlines()}
    assert names <= {"PATH", "HOSTNAME", "HOME", "PWD", "SHLVL"}
    environment = dict(line.split("=", 1) for line in plain["env"].splitlines())
    assert (environment["HOSTNAME"], environment["HOME"]) == ("plain", "/root")


def test_cgroups_are_seen_from_their_own_root(plain):
    paths = {
        line.split(":", 2)[2] for line in plain["cgroup"].splitlines() if ":name=" not in line and "::" not in line
    }
    if Cgroups().is_unified:
        assert paths in ({"/"}, set())
    else:  # as in Docker: the namespace is the host's, whose paths are seen
        assert all(path.startswith("/skiff-") for path in paths)


def test_limits_do_not_depend_on_who_started_the_engine(plain):
    limits = {line[:26].strip(): line[26:].split()[:2] for line in plain["limits"].splitlines()}
    files = 1 << 20 if may_raise() else resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert limits["Max open files"] == [str(files)] * 2
    for name, kind in (("Max processes", resource.RLIMIT_NPROC), ("Max core file size", resource.RLIMIT_CORE)):
        hard = resource.getrlimit(kind)[1]
        assert limits[name] == ["unlimited" if may_raise() or hard < 0 else str(hard)] * 2


def test_what_else_a_process_inherits_is_fresh(plain):
    assert plain["umask"] == "0022"
    assert plain["oom"] == "0"
    assert plain["cwd"].splitlines()[0] == "/"
    assert plain["id"] == "uid=0(root) gid=0(root) groups=0(root)"


def test_names_of_host_and_domain(prober):
    result = prober.run("hostname; cat /proc/sys/kernel/domainname", Hostname="box", Domainname="example.org")
    assert result.lines == ["box", "example.org"]


def test_without_a_filter_a_process_has_no_keys_of_the_hosts(prober):
    # the session keyring is another for each container (keyrings(7)); /proc/keys shows those one possesses
    script = "grep -c _ses /proc/keys; grep Seccomp: /proc/self/status"
    host = {"SecurityOpt": ["seccomp=unconfined", "systempaths=unconfined"]}
    assert prober.run(script, host=host).lines[-1].split() == ["Seccomp:", "0"]


@pytest.mark.parametrize(
    ("script", "allowed"),
    [
        ("mount -t tmpfs none /tmp", False),
        ("unshare -U true", False),
        ("unshare -n true", False),
        ("chroot / true", True),
        ("hostname other", False),
        ("mknod /tmp/x c 1 3", True),
        ("chown 5 /tmp", True),
        ("ifconfig lo down", False),
        ("swapoff -a; swapon /bin/sh", False),
        ("dmesg", False),
    ],
)
def test_what_a_container_may_do_by_default(prober, script, allowed):
    assert (prober.run(f"{script} 2>&1").code == 0) is allowed


def test_capabilities_change_what_a_container_may_do(prober):
    assert prober.run("chown 5 /tmp 2>&1", host={"CapDrop": ["ALL"]}).code == 1
    assert prober.run("chown 5 /tmp", host={"CapDrop": ["ALL"], "CapAdd": ["chown"]}).code == 0
    assert prober.run("mount -t tmpfs none /tmp", host={"CapAdd": ["CAP_SYS_ADMIN"]}).code == 0
    assert prober.run("ifconfig lo down", host={"CapAdd": ["NET_ADMIN"]}).code == 0
    assert prober.run("grep CapEff /proc/self/status", host={"CapAdd": ["ALL"]}).out != ""


def test_no_new_privileges_and_profiles(prober):
    result = prober.run("grep NoNewPrivs /proc/self/status", host={"SecurityOpt": ["no-new-privileges"]})
    assert result.out.split() == ["NoNewPrivs:", "1"]
    for more in ([], ["no-new-privileges"]):
        profile = (
            'seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls":'
            ' [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}'
        )
        result = prober.run("mkdir /tmp/x", host={"SecurityOpt": [profile, *more]}, User="1000")
        assert "No space left on device" in result.err


def test_a_profile_needs_to_allow_little_for_the_process_to_start(prober):
    names = (
        "execve capset prctl exit_group write brk arch_prctl mmap mprotect set_tid_address set_robust_list rseq "
        "prlimit64 readlink getrandom uname getuid newfstatat readlinkat"
    ).split()
    rule = f'{{"names": {names!r}, "action": "SCMP_ACT_ALLOW"}}'.replace("'", '"')
    profile = f'seccomp={{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{rule}]}}'
    for user in ("", "1000:1000"):
        assert prober.execute("echo", "runs", host={"SecurityOpt": [profile]}, User=user).out == "runs\n"


def test_a_read_only_root_can_not_be_written_and_has_its_directory(prober):
    script = "touch /x 2>&1; touch /tmp/y && touch /dev/shm/z && pwd"
    result = prober.run(script, host={"ReadonlyRootfs": True, "Tmpfs": {"/tmp": ""}}, WorkingDir="/made/for/it")
    assert result.lines == ["touch: /x: Read-only file system", "/made/for/it"]


def test_limits_sizes_scores_and_kernel_values_are_set(prober):
    host = {
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}, {"Name": "core", "Soft": 0, "Hard": 0}],
        "OomScoreAdj": 321,
        "ShmSize": 8 << 20,
        "Sysctls": {"kernel.msgmax": "4096", "net.ipv4.ip_unprivileged_port_start": "77", "fs.mqueue.msg_max": "11"},
        "NetworkMode": "none",
    }
    script = (
        "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2;"
        "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/fs/mqueue/msg_max"
    )
    before = [open(f"/proc/sys/{one}").read() for one in ("kernel/msgmax", "fs/mqueue/msg_max")]  # noqa: SIM115
    for user in ("", "1000"):
        result = prober.run(script, host=host, User=user)
        assert result.lines == ["100", "200", "0", "321", "8192", "4096", "77", "11"]
    assert before == [open(f"/proc/sys/{one}").read() for one in ("kernel/msgmax", "fs/mqueue/msg_max")]  # noqa: SIM115


def test_privileged_containers_have_it_all(prober):
    script = (
        "grep -E 'CapEff|Seccomp:' /proc/self/status; mount -t tmpfs none /mnt && echo mounts;"
        "grep ' /sys ' /proc/self/mounts | cut -d' ' -f4 | cut -d, -f1; ls /dev/kmsg; head -c1 /proc/timer_list | wc -c;"
        "ls -l /dev/console 2>&1; mkdir /sys/fs/cgroup/*/x 2>/dev/null; echo end"
    )
    result = prober.run(f"mkdir -p /mnt; {script}", host={"Privileged": True})
    status = result.lines
    assert int(status[0].split()[1], 16) == own_capabilities()
    assert status[1].split() == ["Seccomp:", "0"]
    assert status[2:6] == ["mounts", "rw", "/dev/kmsg", "1"]


def test_a_default_device_may_be_named(prober):
    for path in ("/dev/ptmx", "/dev/null", "/dev/tty"):
        host = {"Devices": [{"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"}]}
        result = prober.run("readlink /dev/ptmx; stat -c %F /dev/null /dev/tty", host=host)
        assert result.lines == ["pts/ptmx", "character special file", "character special file"]


def test_a_tmpfs_has_the_mode_of_what_it_covers(prober):
    image = prober.image("covered", [entry("private", kind=tarfile.DIRTYPE, mode=0o700, uid=7)])
    host = {"Tmpfs": {"/private": "", "/absent": "", "/private/own": "mode=750,ro"}}
    result = prober.run("stat -c '%a %u' /private /absent /private/own; touch /private/own/x", image=image, host=host)
    assert result.lines[:3] == ["700 7", "1777 0", "750 0"]
    assert result.code == 1


def test_devices_of_the_host_are_there_by_name_and_by_folder(prober):
    host = {"Devices": [{"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/log/kernel", "CgroupPermissions": "r"}]}
    result = prober.run("ls -ln /dev/log/kernel; head -c 0 /dev/log/kernel && echo readable", host=host)
    assert result.out.startswith("crw")
    folder = {"Devices": [{"PathOnHost": "/dev/net", "PathInContainer": "/dev/net"}]}
    if os.path.exists("/dev/net/tun"):
        assert prober.run("ls /dev/net", host=folder).out == "tun\n"


def test_a_host_dev_is_left_as_it_is(prober):
    before = sorted(os.listdir("/dev"))
    result = prober.run("ls /dev | wc -l; ls /dev/pts/ptmx", host={"Binds": ["/dev:/dev"]})
    assert result.lines == [str(len(before)), "/dev/pts/ptmx"]
    assert sorted(os.listdir("/dev")) == before


def test_ipc_and_pid_and_uts_modes(prober):
    other = prober.create("sleep", "100", host={"IpcMode": "shareable"}, Hostname="other")
    prober.client.start(other)
    try:
        prober.exec(other, "sh", "-c", "echo shared > /dev/shm/note")
        joined = prober.run(
            "cat /dev/shm/note; cat /proc/1/comm",
            host={"IpcMode": f"container:{other}", "PidMode": f"container:{other}"},
        )
        assert joined.lines == ["shared", "sleep"]
    finally:
        prober.client.remove(other, force=True)
    assert prober.run("ls -d /dev/shm 2>&1", host={"IpcMode": "none"}).code == 1
    assert prober.run("hostname", host={"UTSMode": "host"}).out == f"{os.uname().nodename}\n"
    result = prober.run("sleep 1000 & cat /proc/1/comm; echo $$", host={"PidMode": "host"})
    assert result.lines[0] == open("/proc/1/comm").read().strip()  # noqa: SIM115
    assert int(result.lines[1]) > 1


def test_a_terminal_is_the_console_too(prober):
    id = prober.create("sh", "-c", "tty; ls -l /dev/console | cut -c1; echo x > /dev/console", Tty=True)
    prober.client.start(id)
    assert prober.client.wait(id) == 0
    assert prober.output(id)[0].split() == ["/dev/pts/0", "c", "x"]
    prober.client.remove(id)


def test_init_reaps_hands_signals_on_and_shows_nothing_of_the_host(prober):
    script = (
        "tr '\\0' ' ' < /proc/1/cmdline; echo; cat /proc/1/comm; cat /proc/1/environ 2>&1; ls /proc/1/fd 2>&1;"
        "(sh -c 'sleep 0.01 &'); sleep 0.1; grep -c ^State:.Z /proc/[0-9]*/status; head -c1 /proc/1/exe 2>&1 | wc -c; exit 6"
    )
    result = prober.run(script, host={"Init": True})
    assert result.code == 6
    assert result.lines[0].startswith("/sbin/docker-init -- sh -c")
    assert result.lines[1] == "docker-init"
    assert "SKIFF" not in result.out
    assert all(line.endswith(":0") for line in result.lines if "/status" in line)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "exit 5"], 5),
        (["sh", "-c", "kill -9 $$; exit 1"], 1),  # PID 1 is not killed from inside
        (["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"], 143),
    ],
)
def test_exit_codes(prober, command, code):
    assert prober.execute(*command).code == code


def test_a_killed_process_says_by_which_signal(prober):
    id = prober.create("sleep", "100", host={"Init": True})
    prober.client.start(id)
    prober.client.kill(id, "SIGUSR1")
    assert prober.client.wait(id) == 128 + 10
    prober.client.remove(id)
