"""Debian base images from Debian's own mirror, for where no registry can be reached."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from runtime.errors import BadRequestError, InternalError, UnavailableError
from runtime.image.images import Image, Images, now
from runtime.image.reference import DEFAULT_DOMAIN, Reference

SUITES: Mapping[str, str] = {
    "bookworm": "bookworm", "12": "bookworm", "trixie": "trixie", "13": "trixie", "latest": "trixie",
    "stable": "stable", "testing": "testing", "sid": "sid", "unstable": "sid",
}  # fmt: skip
"""What can be made: the tags of Docker's Debian images, and the suites that they are."""
SECURED = ("bookworm", "trixie", "stable")
"""The suites with updates and security updates in places of their own."""
MIRROR_VARIABLE = "SKIFF_DEBIAN_MIRROR"
MIRROR = "http://deb.debian.org/debian"
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


@dataclass(frozen=True)
class Base:
    """A base that can be made: its name, the suite it is of, and whether documentation is left out."""

    reference: Reference
    suite: str
    is_slim: bool
    architecture: str

    @classmethod
    def parse(cls, name: str, machine: str) -> Base:
        """Return the base called `name` for the kind of machine `machine` (uname). Raises BadRequestError."""
        reference = Reference.parse(name)
        tag = reference.tag or ""
        suite = SUITES.get(tag.removesuffix("-slim"))
        if (reference.domain, reference.path) != (DEFAULT_DOMAIN, "library/debian") or suite is None:
            raise BadRequestError(
                f"{name} can't be made here", f"bases that can: {', '.join(f'debian:{one}[-slim]' for one in SUITES)}"
            )
        if machine not in ARCHITECTURES:
            raise BadRequestError(
                f"{name} can't be made for {machine}", f"machines that it can be made for: {', '.join(ARCHITECTURES)}"
            )
        return cls(reference, suite, tag.endswith("-slim"), ARCHITECTURES[machine])

    @property
    def file_name(self) -> str:
        """What its archive is called."""
        return f"debian-{self.suite}{'-slim' if self.is_slim else ''}-{self.architecture}.tar"

    def sources(self, mirror: str) -> list[str]:
        """Return the lines of its sources.list."""
        suites = [self.suite, f"{self.suite}-updates"] if self.suite in SECURED else [self.suite]
        lines = [f"deb [signed-by={KEYRING}] {mirror} {one} main" for one in suites]
        if self.suite in SECURED:
            lines.append(f"deb [signed-by={KEYRING}] {mirror}-security {self.suite}-security main")
        return lines


async def bootstrap(images: Images, name: str, cache: Path, progress: Callable[[dict[str, Any]], None]) -> Image:
    """Make the image `name` (debian:<suite> or debian:<suite>-slim) and tag it so; it takes a minute or so.

    An archive of what was made is kept in `cache`, so that the next state root imports it in seconds. Packages come
    from $SKIFF_DEBIAN_MIRROR, else from Debian's own. Raises BadRequestError on a name that is no Debian base,
    UnavailableError without mmdebstrap, InternalError when that fails; then nothing stays.
    """
    base = Base.parse(name, platform.machine())
    archive = cache / base.file_name
    mirror = os.environ.get(MIRROR_VARIABLE, MIRROR).rstrip("/")

    def report(message: dict[str, Any]) -> None:
        anyio.from_thread.run_sync(progress, message)

    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(_make, base, mirror, archive, report)
    progress({"status": f"Importing {archive}"})
    async with images.garbage.held_off():
        diff_id = await images.layers.add(archive)
        created = now()
        image = await images.register(
            {
                "architecture": base.architecture,
                "os": "linux",
                "created": created,
                "config": {
                    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                    "Cmd": ["bash"],
                },
                "rootfs": {"type": "layers", "diff_ids": [diff_id]},
                "history": [{"created": created, "created_by": f"skiff image bootstrap {base.reference.familiar}"}],
            }
        )
        images.tag(image, base.reference)
        await images.store.flush()
    progress({"status": f"Made {base.reference.familiar}", "aux": {"ID": image.id}})
    return image


def _make(base: Base, mirror: str, archive: Path, progress: Callable[[dict[str, Any]], None]) -> None:
    """Make `archive`, unless it is there. Blocking."""
    if archive.exists():
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    program = shutil.which("mmdebstrap")
    if program is None:
        raise UnavailableError("mmdebstrap is not installed", "install it: `apt-get install mmdebstrap`")
    with open(archive.with_suffix(".lock"), "w") as lock:
        # mmdebstrap inherits the lock: while it runs, an engine that was restarted waits for it too
        fcntl.flock(lock, fcntl.LOCK_EX)
        scratch = archive.with_suffix(".part")
        shutil.rmtree(scratch, ignore_errors=True)
        if archive.exists():
            return
        scratch.mkdir(mode=0o755)
        try:
            _run(_command(program, base, mirror, scratch), scratch, lock.fileno(), progress)
            os.rename(scratch / "rootfs.tar", archive)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _command(program: str, base: Base, mirror: str, scratch: Path) -> list[str]:
    settings = scratch / "apt"
    settings.mkdir()
    for file, text in {**APT_SETTINGS, "host": _host_settings()}.items():
        (settings / file).write_text(text)
    command = [program, "--variant=minbase", "--mode=root", "--format=tar"]
    if base.is_slim:
        command += [f"--dpkgopt={option}" for option in SLIM]
    return [
        *command,
        f"--customize-hook=copy-in {' '.join(str(settings / file) for file in os.listdir(settings))} /etc/apt/apt.conf.d",
        '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*.log "$1"/etc/hostname '
        '"$1"/etc/resolv.conf "$1"/etc/machine-id "$1"/etc/apt/apt.conf.d/99mmdebstrap',
        base.suite,
        str(scratch / "rootfs.tar"),
        *base.sources(mirror),
    ]


def _run(command: Sequence[str], scratch: Path, lock: int, progress: Callable[[dict[str, Any]], None]) -> None:
    """Run mmdebstrap, whose own temporary files go to `scratch` too. Raises InternalError when it fails."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": str(scratch)},
        pass_fds=(lock,),
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        progress({"status": line.rstrip()})
    if process.wait():
        raise InternalError(
            f"mmdebstrap failed with exit code {process.returncode}:\n{''.join(said[-8:])}",
            f"check that the Debian mirror can be reached (${MIRROR_VARIABLE} names another): `apt-get update`",
        )


def _host_settings() -> str:
    """Return the lines of this host's apt settings that containers need to reach the same mirror."""
    dumped = subprocess.run(["apt-config", "dump", "--format", '%F "%v";%n'], capture_output=True, text=True).stdout
    return "".join(f"{line}\n" for line in dumped.splitlines() if line.split(" ")[0] in CARRIED)
