"""`skiff oci`: systemd as a container's init, as `podman run --systemd=always` asks for it."""

import os
import select
import subprocess
from pathlib import Path

import pytest

from runtime.oci.cgroup import Cgroups
from tests.integration.oci.test_program_mounts import bound, with_mount

SYSTEMD = "/lib/systemd/systemd"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not os.path.exists(SYSTEMD), reason="needs systemd, which the container takes from the host"),
]
SERVICE = """[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh -c '{ cat /proc/self/cgroup; echo end; } > /report/pipe'
"""
TARGET = """[Unit]
DefaultDependencies=no
AllowIsolate=yes
Wants=probe.service
"""


@pytest.fixture
def system(oci):
    """A root with the host's systemd and a target of two units, on a filesystem of its own."""
    folder = oci.folder / "system"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    for name in ("upper/etc/systemd/system", "work", "root", "report"):
        (folder / name).mkdir(parents=True)
    units = folder / "upper/etc/systemd/system"
    (units / "probe.service").write_text(SERVICE)
    (units / "probe.target").write_text(TARGET)
    os.mkfifo(folder / "report/pipe")
    layers = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, folder / "root"], check=True)
    yield folder
    oci.clean()
    subprocess.run(["umount", folder / "root", folder], check=True)
    folder.rmdir()


def boot(oci, system):
    document = oci.document(SYSTEMD, "--unit=probe.target")
    document["root"]["path"] = str(system / "root")
    document["process"].update(noNewPrivileges=False)
    document["process"]["env"] += ["container=podman", "container_uuid=0123456789abcdef0123456789abcdef"]
    names = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT".split()
    capabilities = [f"CAP_{name}" for name in names]
    document["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    for place, options in (("/run", ["mode=755"]), ("/run/lock", []), ("/tmp", []), ("/var/log/journal", [])):
        with_mount(document, place, options=["nosuid", "nodev", "rprivate", *options])
    return bound(document, system / "report", "/report")


def report(system, start):
    """Return what the service writes once it runs."""
    pipe = os.open(system / "report/pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        start()
        text = ""
        while not text.endswith("end\n"):
            assert select.select([pipe], [], [], 60)[0], "the service did not run"
            text += os.read(pipe, 4096).decode()
        return text
    finally:
        os.close(pipe)


@pytest.mark.parametrize("kind", ["writable", "of-podman"])
def test_systemd_starts_its_units_in_its_own_hierarchies(oci, system, kind):
    document = boot(oci, system)
    view = next(entry for entry in document["mounts"] if entry["destination"] == "/sys/fs/cgroup")
    view["options"] = [option for option in view["options"] if option != "ro"]
    if kind == "of-podman" and not Cgroups().is_unified:
        # with version 1, podman makes no cgroup namespace, and shows the host's hierarchy of systemd
        document["linux"]["namespaces"] = [one for one in document["linux"]["namespaces"] if one["type"] != "cgroup"]
        view["options"].append("ro")
        own = "/sys/fs/cgroup/systemd"
        options = ["bind", "nodev", "noexec", "nosuid"]
        document["mounts"].append({"destination": own, "type": "bind", "source": own, "options": options})
    lines = report(system, lambda: oci.started(document)).splitlines()
    # systemd keeps its units in the one hierarchy or the other
    own = [line for line in lines if line.startswith("0::") or ":name=systemd:" in line]
    assert any(line.endswith("/system.slice/probe.service") for line in own)
    assert all(".." not in line for line in own)


@pytest.mark.parametrize("access", ["ro", "rw"])
def test_the_hierarchies_of_systemd_are_entered_shown_and_removed(oci, access):
    document = oci.document("sleep", "1000")
    view = next(entry for entry in document["mounts"] if entry["destination"] == "/sys/fs/cgroup")
    view["options"] = [*(option for option in view["options"] if option != "ro"), access]
    identity = oci.started(document)
    pid = oci.get(identity)["pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    for line in lines:
        if line.startswith("0::") or ":name=systemd:" in line:
            assert line.endswith(f"/skiff.oci/{identity}")
    if not Cgroups().is_unified:
        shown = oci("exec", identity, "ls", "/sys/fs/cgroup").stdout.split()
        assert ("systemd" in shown) == Path("/sys/fs/cgroup/systemd").exists()
        # read-only it would only mislead a systemd, which would take it for its own
        assert ("unified" in shown) == (Path("/sys/fs/cgroup/unified").exists() and access == "rw")
    oci("delete", "--force", identity)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/skiff.oci/{identity}"))
