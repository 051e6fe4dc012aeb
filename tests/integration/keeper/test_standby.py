"""Preforked children for the next containers: they are used, and what they made in advance is what would be made."""

import os
import re
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from runtime.container.prefork_template import prefork_template
from runtime.oci.cgroup import Cgroups
from tests.support.keeper import ground, processes, read

pytestmark = [
    pytest.mark.root,
    pytest.mark.anyio,
    pytest.mark.skipif(Cgroups().is_unified, reason="with cgroup version 2 no child waits"),
]
RECEIVES = "212" if os.uname().machine == "aarch64" else "47"
"""The number of recvmsg(2), in which a child waits that is ready."""
LOOK = """
cd /dev
busybox ls -la . pts | busybox grep -v total; busybox ls -ld shm
busybox ls -l /proc/keys /proc/timer_list /proc/interrupts; busybox ls /proc/acpi /sys/firmware
echo x > /proc/sys/kernel/domainname
busybox mkdir /sys/fs/cgroup/pids/mine
echo hello > /dev/full
echo hello > /dev/null && echo written
busybox mknod /dev/sda b 8 0 && echo hello > /dev/sda
busybox cut -d' ' -f4- /proc/self/mountinfo | busybox sort
"""


@pytest.fixture
def anyio_backend():
    return "asyncio"


def waits(pid):
    return Path(f"/proc/{pid}/syscall").read_text().startswith(RECEIVES)


async def ready(made):
    """Return the numbers of the preforked children, as soon as they all wait to be asked."""
    directory = Path(Cgroups().directories(f"/skiff-{made.paths.engine_id}")["pids"])
    with anyio.fail_after(20):
        while True:
            found = [pid for one in directory.glob("standby-*") for pid in processes(one)]  # noqa: ASYNC240
            if len(found) == 2 and all(waits(pid) for pid in found):
                return found
            await anyio.lowlevel.checkpoint()


def document(made, id):
    """Return the document of a container with the defaults that looks at what it was given."""
    has = prefork_template()
    spec = made.spec(id, ["sh", "-c", LOOK])
    spec["mounts"] = [spec["mounts"][0], *has["mounts"], spec["mounts"][-1]]
    spec["linux"] |= {key: has[key] for key in ("maskedPaths", "readonlyPaths")}
    spec["linux"]["resources"] = {"devices": list(has["devices"])}
    return spec


async def look(made, spec, id):
    """Return what the container of `spec` prints, without the names that are its own, and its first process."""
    process = await made.keeper.launch(id, made.folder / f"{id}-bundle", spec, stdin=False)
    made.processes.append(process)
    text = await read(process.fds["stdout"]) + await read(process.fds["stderr"])
    for name, stands_for in ((str(made.folder), "FOLDER"), (made.paths.engine_id, "ENGINE")):
        text = text.replace(name, stands_for)
    return re.sub(r"\w{3} +\d+ \d\d:\d\d", "TIME", text), process.pid


async def test_waiting_children_become_the_next_containers():
    async with ground(prefork_template=prefork_template()) as made:
        standing = await ready(made)
        for number in range(2):
            process = await made.launch(f"c{number}", "sh", "-c", "echo $$; cat /proc/self/cgroup; sleep 100")
            assert process.pid in standing
            await anyio.wait_readable(process.fds["stdout"])
            assert os.read(process.fds["stdout"], 9000).startswith(b"1\n")


async def test_what_was_made_in_advance_is_what_would_be_made():
    changes = {
        "defaults": lambda spec: None,
        "a device of its own": lambda spec: spec["linux"]["resources"]["devices"].append(
            {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "rwm"}
        ),
        "no device rules": lambda spec: spec["linux"]["resources"].update(devices=[]),
        "nothing masked": lambda spec: spec["linux"].update(maskedPaths=[]),
        "no cgroups": lambda spec: spec["mounts"].pop(-2),
        "another /dev": lambda spec: spec["mounts"][2]["options"].append("noexec"),
        "a mount in /proc": lambda spec: spec["mounts"].append(
            {"destination": "/proc/uptime", "type": "bind", "source": "/proc/version", "options": ["bind"]}
        ),
    }
    for what, change in changes.items():
        seen = []
        for ahead in (prefork_template(), None):
            async with ground(prefork_template=ahead) as made:
                standing = await ready(made)
                spec = document(made, "one")
                change(spec)
                text, pid = await look(made, spec, "one")
                assert pid in standing
                seen.append(text)
        assert seen[0] == seen[1], what
        assert "written" in seen[0]
