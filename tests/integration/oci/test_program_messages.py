"""`skiff oci`: what it says when something fails, and the options by which crun's callers name files and containers."""

import json
import os

import pytest

from runtime.errors import KernelError
from runtime.linux import syscalls as linux
from runtime.oci import launch
from tests.integration.oci.test_program_mounts import with_mount
from tests.support.bundles import wait

pytestmark = pytest.mark.root


def test_a_system_call_that_fails_is_shown_without_objects(tmp_path):
    descriptor = os.open(tmp_path, os.O_PATH)
    failures = [
        (lambda: launch.clone(1), "clone3: Invalid argument (EINVAL)"),
        (lambda: linux.call("setns", descriptor, 0), "setns: Bad file descriptor (EBADF)"),
        (
            lambda: linux.mount("none", f"/proc/self/fd/{descriptor}", "nothing", 1, None),
            f"mount(none, {tmp_path}, nothing): No such device (ENODEV)\n    this kernel does not have this filesystem",
        ),
        (
            lambda: linux.open_inside(descriptor, b"absent", os.O_PATH, linux.RESOLVE_BENEATH),
            "openat2(absent): No such file or directory (ENOENT)",
        ),
    ]
    for act, shown in failures:
        with pytest.raises(KernelError) as raised:
            act()
        assert str(raised.value).startswith(shown)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("mount", "shown"),
    [
        (
            {"type": "ext4", "source": "/etc/passwd", "options": ["private"]},
            "block device required (fsconfig: ENOTBLK)",
        ),
        ({"type": "nothing", "source": "none"}, "no such device (mount: ENODEV)"),
        ({"type": "tmpfs", "source": "none", "options": ["mode=x", "private"]}, "Bad value for 'mode'"),
        ({"type": "bind", "source": "/absent", "options": ["bind"]}, "no such file or directory (open_tree: ENOENT)"),
    ],
)
def test_a_mount_that_fails_is_shown_with_its_reason(oci, mount, shown):
    done = oci.run(with_mount(oci.document("true"), "/data", **mount), check=False)
    assert done.returncode == 1
    assert f'error mounting "{mount["source"]}" to rootfs at "/data"' in done.stderr
    assert shown in done.stderr
    assert "None" not in done.stderr


def test_a_log_that_can_not_be_written_is_an_error(oci, tmp_path):
    for path, reason in (("absent/log", "no such file or directory"), ("", "is a directory")):
        done = oci("list", check=False, options=["--log", tmp_path / path])
        assert done.returncode == 1
        assert f"--log {tmp_path / path}: {reason}" in done.stderr
    assert "only a file" in oci("list", check=False, options=["--log", "syslog:x"]).stderr
    oci("state", "nobody", check=False, options=["--log", f"file:{tmp_path}/log"])
    assert "does not exist" in (tmp_path / "log").read_text()


def test_another_file_may_be_the_configuration(oci, tmp_path):
    folder, identity = oci.bundle({"nothing": "of use"})
    (tmp_path / "other.json").write_text(json.dumps(oci.document("echo", "other")))
    done = oci("run", "--bundle", folder, "--config", "other.json", identity, cwd=tmp_path, env=environment())
    assert done.stdout == "other\n"
    assert "absent.json" in oci("run", "--config", "absent.json", identity, check=False).stderr


def test_the_template_may_have_another_name(oci, tmp_path):
    oci("spec", "--bundle", tmp_path, "-f", "other.json")
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]
    assert json.loads((tmp_path / "other.json").read_text())["process"]["args"] == ["sh"]


def environment():
    """Let the program be found from any directory."""
    return {**os.environ, "PYTHONPATH": os.getcwd()}


@pytest.mark.parametrize("form", [["--regex", "{}"], ["--regex={}"]])
def test_an_expression_names_several_containers(oci, form):
    identities = [oci.started(oci.document("sleep", "1000")) for _ in range(3)]
    other, *named = identities
    expression = f"^({'|'.join(named)})$"
    words = [word.format(expression) for word in form]
    pidfds = [os.pidfd_open(oci.get(identity)["pid"]) for identity in named]
    assert "is running" in oci("delete", *words, check=False).stderr
    oci("kill", *words, "KILL")
    for pidfd in pidfds:
        wait(pidfd)
    oci("delete", *words)
    assert [state["id"] for state in json.loads(oci("list", "--format", "json").stdout)] == [other]
    assert "--regex (" in oci("kill", "--regex", "(", check=False).stderr
