"""`skiff doctor` says what is so: it tries things, leaves nothing, and knows what is missing where something is."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from runtime.linux import syscalls as linux
from runtime.oci.cgroup import Cgroups
from tests.support.machine import look_at_everything

pytestmark = pytest.mark.root

CAP_SYS_ADMIN = 21


def examine(root, before=None):
    """Run the doctor, after `before` in its process; return its exit code and its findings by subject."""
    result = subprocess.run(
        [sys.executable, "-m", "runtime.doctor", "--json"],
        env={"SKIFF_ROOT": str(root / "root"), "SKIFF_RUN": str(root / "run"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=before,
    )
    assert result.stdout, result.stderr
    return result.returncode, {finding["subject"]: finding for finding in json.loads(result.stdout)}


KINDS = ("mounts", "links", "nftables", "cgroups")


def cgroup_mounts(controller=""):
    """Return where cgroup hierarchies are mounted, with `controller` those of version 1 that have it."""
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [
        point
        for _, point, kind, options, *_ in lines
        if kind in ("cgroup", "cgroup2") and (not controller or controller in options.split(","))
    ]


def alone_with_mounts():
    linux.call("unshare", linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_PRIVATE | linux.MS_REC)


def test_a_machine_that_runs_containers_is_well_and_nothing_of_the_trials_is_left(tmp_path, engine):
    before = look_at_everything(tmp_path)
    code, found = examine(tmp_path)
    tried = {subject for subject, finding in found.items() if "(tried)" in finding["detail"]}
    # layers are mounted where the kernel can, and unpacked elsewhere
    assert tried - {"layers"} == {
        "namespaces",
        "overlayfs",
        "seccomp",
        "cgroups",
        "device rules",
        "interfaces",
        "nftables",
    }
    assert [finding for finding in found.values() if finding["state"] == "missing"] == []
    assert [finding for finding in found.values() if "cgroup" in finding["subject"] and finding["state"] != "ok"] == []
    assert code == 0
    after = look_at_everything(tmp_path).since(before)
    # layers of other engines come and go
    left = {kind: [one for one in after.get(kind, ()) if not one.endswith("/diff")] for kind in KINDS}
    assert not any(left.values()), left
    assert list(tmp_path.iterdir()) == []


def test_the_hierarchy_is_named(tmp_path, is_unified):
    _, found = examine(tmp_path)
    assert found["cgroups"]["detail"].startswith(f"version {2 if is_unified else 1}: /sys/fs/cgroup")


def test_what_is_refused_is_missing_and_has_a_cure(tmp_path):
    code, found = examine(tmp_path, lambda: linux.prctl(linux.PR_CAPBSET_DROP, CAP_SYS_ADMIN))
    assert code == 1
    for subject in ("namespaces", "overlayfs"):
        assert found[subject]["state"] == "missing"
        assert "Operation not permitted" in found[subject]["detail"]
        assert found[subject]["cure"]


def test_cgroups_that_can_not_be_written_are_missing(tmp_path):
    def before():
        alone_with_mounts()
        for point in cgroup_mounts():
            linux.mount(None, point, None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)

    code, found = examine(tmp_path, before)
    assert code == 1
    assert found["cgroups"]["state"] == "missing"
    assert "Read-only file system" in found["cgroups"]["detail"]
    assert "remount" in found["cgroups"]["cure"]


def test_cgroups_that_are_not_mounted_are_missing(tmp_path):
    def before():
        alone_with_mounts()
        for point in cgroup_mounts():
            linux.umount2(point, linux.MNT_DETACH)

    code, found = examine(tmp_path, before)
    assert code == 1
    assert found["cgroups"]["cure"] == "`mount -t cgroup2 cgroup2 /sys/fs/cgroup`"


def test_a_controller_that_is_not_there_limits_and_has_its_cure(tmp_path, is_unified):
    def before():
        alone_with_mounts()
        if is_unified:  # a cgroup whose parent offers no controller, as the root of a namespace
            Path("/sys/fs/cgroup/plain/leaf").mkdir(parents=True, exist_ok=True)
            linux.mount("/sys/fs/cgroup/plain/leaf", "/sys/fs/cgroup", None, linux.MS_BIND)
        else:
            # all of them: another program may have mounted this hierarchy a second time
            for point in cgroup_mounts("pids"):
                linux.umount2(point, linux.MNT_DETACH)

    try:
        code, found = examine(tmp_path, before)
    finally:
        if is_unified:
            Cgroups().remove("/plain/leaf")
    assert code == 0
    assert found["cgroup pids"]["state"] == "limited"
    assert found["cgroup pids"]["cure"] == (
        "have it delegated: `systemctl edit user@.service`, with `Delegate=pids` under [Service]"
        if is_unified
        else "`mkdir DIR && mount -t cgroup -o pids cgroup DIR`"
    )


def drop_rights():
    linux.prctl(linux.PR_CAPBSET_DROP, CAP_SYS_ADMIN)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)


def enter_chroot(folder):
    """Mount the machine's root at `folder` and make that the root directory."""
    alone_with_mounts()
    linux.mount("/", str(folder), None, linux.MS_BIND | linux.MS_REC)
    os.chroot(folder)
    os.chdir("/")


@pytest.mark.parametrize("where", ["without rights", "in a chroot"])
def test_where_root_may_not_do_all_doctor_and_engine_say_what_is_missing(tmp_path, where, busybox_tar):
    (chroot := tmp_path / "chroot").mkdir()
    before, subject, what, cure = {
        "without rights": (drop_rights, "rights", "root has no CAP_SYS_ADMIN here", "--privileged"),
        "in a chroot": (partial(enter_chroot, chroot), "root directory", "this is a chroot", "outside of the chroot"),
    }[where]
    code, found = examine(tmp_path, before)
    assert code == 1
    assert found[subject]["state"] == "missing"
    assert what in found[subject]["detail"]
    assert cure in found[subject]["cure"]
    environment = {"SKIFF_ROOT": str(tmp_path / "root"), "SKIFF_RUN": str(tmp_path / "run"), "PATH": "/usr/bin:/bin"}
    for arguments in (("image", "load", "-i", str(busybox_tar)), ("ls",)):
        result = subprocess.run(
            [sys.executable, "-m", "compose.cli.entry", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=before,
        )
        assert result.returncode == 1
        assert what in result.stderr, result.stderr
        assert cure in result.stderr
