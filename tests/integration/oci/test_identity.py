"""Who a process is, where it starts, what it can open; and the same for processes that come in later."""

import re

import pytest

from runtime.errors import EngineError
from tests.support.probes import entry

pytestmark = pytest.mark.root

ID = "id -u; id -g; id -G; echo $HOME"


@pytest.mark.parametrize(
    ("user", "extra", "expected"),
    [
        ("", [], "0 0 0 /root"),
        ("app", [], "1000 1000 1000 2000 /home/app"),
        ("1000", [], "1000 1000 1000 2000 /home/app"),
        ("app:extra", [], "1000 2000 2000 /home/app"),
        ("1000:0", [], "1000 0 0 /home/app"),
        ("4321", [], "4321 0 0 /"),
        ("4321:99", ["extra", "77"], "4321 99 99 77 2000 /"),
        ("nobody", ["app"], "65534 65534 65534 1000 /"),
    ],
)
def test_users_and_groups_are_those_of_the_image(prober, user, extra, expected):
    result = prober.run(ID, User=user, host={"GroupAdd": extra})
    assert " ".join(result.lines) == expected


@pytest.mark.parametrize(
    ("user", "extra", "message"),
    [
        ("ghost", [], "unable to find user ghost: no matching entries in passwd file"),
        ("app:ghosts", [], "unable to find group ghosts: no matching entries in group file"),
        ("app", ["ghosts"], "unable to find group ghosts: no matching entries in group file"),
        ("3000000000", [], "uids and gids must be in range 0-2147483647"),
    ],
)
def test_unknown_users_and_groups_are_reported_in_dockers_words(prober, user, extra, message):
    with pytest.raises(EngineError, match=message):
        prober.run("true", User=user, host={"GroupAdd": extra})


def test_a_user_has_no_capabilities_and_can_write_to_its_streams(prober):
    script = (
        "grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | cut -f2 | sort -u; grep CapBnd /proc/self/status;"
        "echo out > /dev/stdout; echo err > /dev/stderr"
    )
    result = prober.run(script, User="app")
    assert result.lines == ["0000000000000000", "CapBnd:\t00000000a80425fb", "out"]
    assert result.err == "err\n"
    id = prober.create("sh", "-c", "echo out > /dev/stdout; echo tty > $(tty)", User="app", Tty=True)
    prober.client.start(id)
    prober.client.wait(id)
    assert prober.output(id)[0].split() == ["out", "tty"]
    prober.client.remove(id)


def test_a_working_directory_is_made_and_may_be_one_that_the_user_could_not_enter(prober):
    image = prober.image("rooms", [entry("locked", kind=b"5", mode=0o700)])
    assert prober.run("pwd; ls -ldn /a/b | cut -d' ' -f1", image=image, WorkingDir="/a/b", User="app").lines == [
        "/a/b",
        "drwxr-xr-x",
    ]
    assert prober.execute("true", image=image, WorkingDir="/locked", User="app").code == 0
    with pytest.raises(EngineError, match=r"chdir to cwd \(\"/etc/passwd\"\) .* not a directory"):
        prober.run("true", WorkingDir="/etc/passwd")


def test_variables_of_the_container_are_over_those_of_the_image(prober):
    image = prober.image("vars", [], Env=["PATH=/bin", "A=image", "B=image", "HOME=/image"])
    result = prober.run('echo "$A $B $HOME ${C-unset} $X"', image=image, Env=["A=own", "B", "X=a=b"])
    assert result.out == "own  /image unset a=b\n"


@pytest.fixture(scope="module")
def running(prober):
    """A container to come into: a user, groups, limits, no privileges to gain."""
    host = {
        "GroupAdd": ["77"], "SecurityOpt": ["no-new-privileges"], "CapDrop": ["MKNOD"], "OomScoreAdj": 12,
        "Ulimits": [{"Name": "nofile", "Soft": 64, "Hard": 64}], "Memory": 64 << 20,
    }  # fmt: skip
    id = prober.create("sleep", "1000", host=host, User="app", Hostname="home", WorkingDir="/tmp", Env=["A=1"])
    prober.client.start(id)
    yield id
    prober.client.remove(id, force=True)


def test_a_process_that_comes_in_is_like_the_first(prober, running):
    script = (
        "for n in cgroup ipc mnt net pid uts; do"
        " [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] && echo -n same; done;"
        "echo; cmp /proc/1/cgroup /proc/self/cgroup && hostname; pwd; id -G; ulimit -n; cat /proc/self/oom_score_adj; echo $A $B;"
        "grep -E 'Cap(Bnd|Eff)|NoNewPrivs|Seccomp:|SigIgn|SigBlk' /proc/self/status | cut -f2; ls /proc/self/fd"
    )
    code, out = prober.exec(running, "sh", "-c", script, Env=["B=2"])
    assert (code, out.splitlines()) == (
        0,
        [
            "same" * 6, "home", "/tmp", "1000 77 2000", "64", "12", "1 2", "0000000000000000", "0000000000000000",
            "0000000000000000", "00000000a00425fb", "1", "2", "0", "1", "2", "3",
        ],
    )  # fmt: skip


def test_a_process_that_comes_in_can_be_another_user_elsewhere_with_a_terminal(prober, running):
    assert prober.exec(running, "sh", "-c", f"{ID}; pwd", User="0", WorkingDir="/etc")[1].split() == [
        "0", "0", "0", "77", "/root", "/etc",
    ]  # fmt: skip
    assert prober.exec(running, "tty", Tty=True)[1].strip() == "/dev/pts/0"
    _, out = prober.exec(
        running, "sh", "-c", "grep -E 'CapEff|Seccomp:' /proc/self/status | cut -f2", User="0", Privileged=True
    )
    assert out.splitlines()[1] == "2"  # the filter stays the container's
    assert int(out.splitlines()[0], 16) > 0xA80425FB


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (["nosuch"], {}, "executable file not found in"),
        (["true"], {"WorkingDir": "/nosuch"}, r"chdir to cwd \(\"/nosuch\"\) .*no such file or directory"),
    ],
)
def test_what_can_not_come_in_is_reported(prober, running, command, options, message):
    code, out = prober.exec(running, *command, **options)
    assert code in (126, 127, 128)
    assert re.search(message, out)


def test_a_user_that_is_not_there_is_refused_before_the_exec_starts(prober, running):
    with pytest.raises(EngineError, match="unable to find user ghost"):
        prober.exec(running, "true", User="ghost")


@pytest.mark.parametrize("count", [1, 40, 127])
def test_any_number_of_layers_makes_a_root(prober, count):
    layers = [
        [entry(f"layer/{number}", str(number).encode()), entry("top", str(number).encode())] for number in range(count)
    ]
    image = prober.image(f"layers{count}", *layers)
    assert prober.run("ls /layer | wc -l; cat /top", image=image).lines == [str(count), str(count - 1)]
