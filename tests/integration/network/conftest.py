import secrets
import subprocess
import tempfile
from pathlib import Path

import pytest

from runtime.paths import Paths


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def paths():
    with tempfile.TemporaryDirectory(prefix="skf-n-") as folder:
        paths = Paths(Path(folder, "root"), Path(folder, "run"))
        paths.root.mkdir()
        yield paths


@pytest.fixture
def elsewhere():
    """A machine beside this one: a network namespace on a wire of its own; gives its path and our address there."""
    name = f"skf{secrets.token_hex(3)}"
    for command in (
        f"ip netns add {name}",
        f"ip link add {name} type veth peer name wire netns {name}",
        f"ip addr add 198.51.100.1/30 dev {name}",
        f"ip -6 addr add 2001:db8:77::1/64 dev {name} nodad",
        f"ip link set {name} up",
        f"ip -n {name} addr add 198.51.100.2/30 dev wire",
        f"ip -n {name} -6 addr add 2001:db8:77::2/64 dev wire nodad",
        f"ip -n {name} link set wire up",
        f"ip -n {name} link set lo up",
        f"ip -n {name} route add default via 198.51.100.1",
        f"ip -n {name} -6 route add default via 2001:db8:77::1",
    ):
        subprocess.run(command.split(), check=True)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "link", "del", name], check=True)
    subprocess.run(["ip", "netns", "del", name], check=True)
