"""The directories and files of an engine: a state root that survives a reboot, and a run directory that does not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The two directories of an engine, and the paths in them.

    `root` has images, containers, volumes and their records; `run` has sockets, locks and pinned namespaces. Engines
    with different roots share nothing, neither on disk nor in the kernel (see `engine_id`).
    """

    root: Path
    run: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], uid: int) -> Paths:
        """Return the directories for user `uid`: $SKIFF_ROOT and $SKIFF_RUN, else the defaults of root or the user."""
        home = Path(environ.get("HOME") or "/")
        if root := environ.get("SKIFF_ROOT"):
            default_run = Path(root).absolute() / "run"
        elif uid == 0:
            root, default_run = "/var/lib/skiff", Path("/run/skiff")
        else:
            root = str(Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "skiff")
            session = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}")
            # without a session manager there is no such directory: then it is in the root
            default_run = session / "skiff" if session.is_dir() else Path(root).absolute() / "run"
        run = Path(environ["SKIFF_RUN"]).absolute() if environ.get("SKIFF_RUN") else default_run
        # names in the kernel are made of the root's path: it must be the same whichever link leads to it
        return cls(Path(os.path.realpath(root)), run)

    @property
    def engine_id(self) -> str:
        """Eight hex digits for the names of this root's cgroups and nftables table: unique on the machine."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def blobs(self) -> Path:
        """Blobs: files `sha256/<hex>` (OCI image layout, "Blobs")."""
        return self.root / "blobs"

    @property
    def layers(self) -> Path:
        """Unpacked layers: a directory for each diff ID."""
        return self.root / "layers"

    @property
    def init_layer(self) -> Path:
        """The lowest layer of every container: the mount points (/dev, /proc, /etc/hosts, …)."""
        return self.root / "init-layer"

    @property
    def containers(self) -> Path:
        """A directory for each container: its writable layer, logs and bind-mounted files."""
        return self.root / "containers"

    @property
    def volumes(self) -> Path:
        """A directory for each volume; the data are in its `_data`."""
        return self.root / "volumes"

    @property
    def tmp(self) -> Path:
        """Temporary files that are renamed into place when complete: on the same filesystem as the rest of `root`."""
        return self.root / "tmp"

    @property
    def build_contexts(self) -> Path:
        """Build contexts as received from clients (see `runtime.buildkit.contexts`)."""
        return self.root / "build-contexts"

    @property
    def context_digests(self) -> Path:
        """Digests of the files of clients' directories (see `runtime.build.digests`)."""
        return self.root / "context-digests"

    @property
    def trash(self) -> Path:
        """Removed files that are deleted in the background (see `runtime.trash`)."""
        return self.root / "trash"

    @property
    def networks(self) -> Path:
        """The networks' records, a file each."""
        return self.root / "networks"

    @property
    def images(self) -> Path:
        """The images' records, a file each: configuration, names and size."""
        return self.root / "images"

    @property
    def build_cache(self) -> Path:
        """The build cache: the result of each step, one per line."""
        return self.root / "build-cache.jsonl"

    @property
    def format(self) -> Path:
        """A file with the version of the on-disk format."""
        return self.root / "format"

    @property
    def reserve(self) -> Path:
        """A file that reserves disk space for records."""
        return self.root / "reserve"

    @property
    def root_lock(self) -> Path:
        """The lock file of the engine that uses this root (see `runtime.root_lock`)."""
        return self.root / "engine.lock"

    @property
    def database(self) -> Path:
        """The SQLite database in which earlier versions kept their state."""
        return self.root / "state.db"

    @property
    def endpoints(self) -> Path:
        """The records of networks' endpoints, a file each."""
        return self.run / "endpoints"

    @property
    def engine_socket(self) -> Path:
        """The socket of the Docker Engine API."""
        return self.run / "engine.sock"

    @property
    def engine_log(self) -> Path:
        """Standard output and standard error of a detached engine."""
        return self.run / "engine.log"

    @property
    def keeper_socket(self) -> Path:
        """The keeper's socket."""
        return self.run / "keeper.sock"

    @property
    def doorman_socket(self) -> Path:
        """The doorman's socket for engines."""
        return self.run / "doorman.sock"

    @property
    def host_socket(self) -> Path:
        """The socket of the process outside the namespaces of a rootless engine."""
        return self.run / "host.sock"

    @property
    def bridges_netns(self) -> Path:
        """The pinned network namespace with the bridges of a rootless engine; root's are in the host's."""
        return self.run / "bridges.net"

    @property
    def idle_mark(self) -> Path:
        """A file of an engine that exited since it was idle (see `runtime.engine.idle`)."""
        return self.run / "idle"

    @property
    def netns(self) -> Path:
        """Pinned network namespaces, a file for each container."""
        return self.run / "netns"

    @property
    def bundles(self) -> Path:
        """OCI bundles of running containers, a directory for each."""
        return self.run / "bundles"

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.run / "locks"

    def container(self, container_id: str) -> Path:
        """Return the directory of one container."""
        return self.containers / container_id

    def volume(self, name: str) -> Path:
        """Return the directory of one volume."""
        return self.volumes / name
