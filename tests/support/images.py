"""Small real images, made here: a static busybox with its applets."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

BUSYBOX = Path("/bin/busybox")
PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\napp:x:1000:1000:app:/home/app:/bin/sh\n"
)
GROUP = "root:x:0:\nnogroup:x:65534:\napp:x:1000:\nextra:x:2000:app\n"


def busybox_program() -> Path:
    """Return the statically linked busybox of this machine; skips the test where there is none."""
    if not BUSYBOX.exists():
        pytest.skip(f"no {BUSYBOX}: `apt-get install busybox-static`, or `make test T=...`, which installs it")
    return BUSYBOX


def base_layer():
    """An uncompressed layer with busybox under /bin; the same bytes each time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name, kind, mode, content=b"", link=""):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.size, member.linkname = kind, mode, len(content), link
            tar.addfile(member, io.BytesIO(content))

        for folder in ("bin", "etc", "root", "home", "home/app", "tmp", "var", "usr", "usr/bin"):
            add(folder, tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755)
        add("bin/busybox", tarfile.REGTYPE, 0o755, busybox_program().read_bytes())
        applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
        for applet in sorted(set(applets) - {"busybox"}):
            add(f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        add("etc/passwd", tarfile.REGTYPE, 0o644, PASSWD.encode())
        add("etc/group", tarfile.REGTYPE, 0o644, GROUP.encode())
    return out.getvalue()


def busybox_archive(path: Path, *names: str) -> Path:
    """Write a `docker save` archive of a busybox image called `names` (default "busybox:latest") to `path`."""
    layer = base_layer()
    diff_id = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "busybox-static"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [
        {"Config": config_name, "RepoTags": list(names or ("busybox:latest",)), "Layers": [f"{diff_id}/layer.tar"]}
    ]
    with tarfile.open(path, "w") as tar:
        for name, content in (
            (config_name, config),
            (f"{diff_id}/layer.tar", layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
