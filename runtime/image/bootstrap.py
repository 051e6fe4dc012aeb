"""Debian base images from Debian's own mirror, for where no registry can be reached."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from runtime.errors import BadRequestError, InternalError, UnavailableError
from runtime.image.images import Image, Images, now
from runtime.image.reference import Reference

SUITES = ("bookworm", "trixie", "sid")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# what Debian's own slim images leave out: it is documentation
SLIM = (
    "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/info/*", "path-exclude=/usr/share/lintian/*",
)  # fmt: skip
APT_SETTINGS = {
    "docker-clean": (
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb || true"; };\n'
        'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
    ),
    "docker-no-languages": 'Acquire::Languages "none";\n',
    "docker-gzip-indexes": 'Acquire::GzipIndexes "true";\n',
    "docker-autoremove-suggests": 'Apt::AutoRemove::SuggestsImportant "false";\n',
}
# settings of the host's apt that say how its mirror is reached: containers reach the same mirror
CARRIED = ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-Valid-Until", "Acquire::Check-Date")


def cache_directory(environ: Mapping[str, str], uid: int) -> Path:
    """Return where made images are kept for other state roots: $SKIFF_CACHE, else the user's or the system's cache."""
    if chosen := environ.get("SKIFF_CACHE"):
        return Path(chosen)
    if uid == 0:
        return Path("/var/cache/skiff")
    return Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/")) / ".cache") / "skiff"


async def bootstrap(images: Images, name: str, cache: Path, progress: Callable[[dict[str, Any]], None]) -> Image:
    """Make the image `name` (debian:<suite> or debian:<suite>-slim) and tag it so; it takes a minute or so.

    An archive of what was made is kept in `cache`, so that the next state root imports it in seconds. Raises
    BadRequestError on a name that is no Debian base, UnavailableError without mmdebstrap.
    """
    reference = Reference.parse(name)
    suite = (reference.tag or "").removesuffix("-slim")
    if reference.path != "library/debian" or suite not in SUITES:
        known = ", ".join(f"debian:{suite}-slim" for suite in SUITES)
        raise BadRequestError(f"{name} can't be made here", f"bases that can: {known} (and the same without -slim)")
    archive = cache / f"debian-{reference.tag}-{ARCHITECTURES[platform.machine()]}.tar"

    def tell(message: dict[str, Any]) -> None:
        anyio.from_thread.run_sync(progress, message)

    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(_make, suite, (reference.tag or "").endswith("-slim"), archive, tell)
    progress({"status": f"Importing {archive}"})
    async with images.garbage.held_off():
        diff_id = await images.layers.add(archive)
        image = images.register(
            {
                "architecture": ARCHITECTURES[platform.machine()],
                "os": "linux",
                "created": now(),
                "config": {
                    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                    "Cmd": ["bash"],
                },
                "rootfs": {"type": "layers", "diff_ids": [diff_id]},
                "history": [{"created": now(), "created_by": f"skiff image bootstrap {reference.familiar}"}],
            }
        )
        images.tag(image, reference)
    progress({"status": f"Made {reference.familiar}", "aux": {"ID": image.id}})
    return image


def _make(suite: str, slim: bool, archive: Path, progress: Callable[[dict[str, Any]], None]) -> None:
    """Make `archive`, unless it is there. Blocking."""
    if archive.exists():
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    program = shutil.which("mmdebstrap")
    if program is None:
        raise UnavailableError("mmdebstrap is not installed", "install it: `apt-get install mmdebstrap`")
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="bootstrap-") as scratch:
        settings = Path(scratch) / "apt"
        settings.mkdir()
        for file, text in {**APT_SETTINGS, "host": _host_settings()}.items():
            (settings / file).write_text(text)
        part = Path(scratch) / "rootfs.tar"
        command = [program, "--variant=minbase", "--mode=root", "--format=tar"]
        if slim:
            command += [f"--dpkgopt={option}" for option in SLIM]
        command += [
            f"--customize-hook=copy-in {' '.join(str(settings / file) for file in os.listdir(settings))} /etc/apt/apt.conf.d",
            '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*.log "$1"/etc/hostname '
            '"$1"/etc/resolv.conf "$1"/etc/machine-id "$1"/etc/apt/apt.conf.d/99mmdebstrap',
            suite,
            str(part),
        ]
        mirror = "http://deb.debian.org/debian"
        suites = [suite] if suite == "sid" else [suite, f"{suite}-updates"]
        command += [f"deb [signed-by={KEYRING}] {mirror} {one} main" for one in suites]
        if suite != "sid":
            command.append(f"deb [signed-by={KEYRING}] {mirror}-security {suite}-security main")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            progress({"status": line.rstrip()})
        if process.wait():
            raise InternalError(
                f"mmdebstrap failed with exit code {process.returncode}:\n{''.join(said[-8:])}",
                "check that the Debian mirror can be reached: `apt-get update`",
            )
        os.rename(part, archive)


def _host_settings() -> str:
    """Return the lines of this host's apt settings that containers need to reach the same mirror."""
    told = subprocess.run(["apt-config", "dump", "--format", '%F "%v";%n'], capture_output=True, text=True).stdout
    return "".join(f"{line}\n" for line in told.splitlines() if line.split(" ")[0] in CARRIED)
