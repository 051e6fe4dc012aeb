"""Where Skiff keeps its state: one root that survives a reboot, one run directory that does not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The two directories of an engine and the places inside them.

    `root` holds images, containers, volumes and the database; `run` holds sockets, locks and pinned namespaces. Two
    engines with different roots share nothing, neither on disk nor in the kernel (see `engine_id`).
    """

    root: Path
    run: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], uid: int) -> Paths:
        """Return the directories for user `uid`: $SKIFF_ROOT and $SKIFF_RUN, else the system's or the user's own."""
        home = Path(environ.get("HOME") or "/")
        if root := environ.get("SKIFF_ROOT"):
            default_run = Path(root).absolute() / "run"
        elif uid == 0:
            root, default_run = "/var/lib/skiff", Path("/run/skiff")
        else:
            root = str(Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "skiff")
            session = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}")
            # without a session manager there is no such directory: then it lies with the rest
            default_run = session / "skiff" if session.is_dir() else Path(root).absolute() / "run"
        run = Path(environ["SKIFF_RUN"]).absolute() if environ.get("SKIFF_RUN") else default_run
        return cls(Path(root).absolute(), run)

    @property
    def engine_id(self) -> str:
        """Eight hex digits that name this root's cgroups and nftables table, so that engines never meet."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def blobs(self) -> Path:
        """OCI content: `sha256/<hex>` files (OCI image layout, "Blobs")."""
        return self.root / "blobs"

    @property
    def layers(self) -> Path:
        """Unpacked layers, a directory a diff ID."""
        return self.root / "layers"

    @property
    def init_layer(self) -> Path:
        """The lowest layer of every container: what is mounted on."""
        return self.root / "init-layer"

    @property
    def containers(self) -> Path:
        """A directory a container: its writable layer, logs and bound files."""
        return self.root / "containers"

    @property
    def volumes(self) -> Path:
        """A directory a named volume; the data are in its `_data`."""
        return self.root / "volumes"

    @property
    def tmp(self) -> Path:
        """Where files grow before they are renamed into place: the same filesystem as everything else in `root`."""
        return self.root / "tmp"

    @property
    def build_contexts(self) -> Path:
        """Where directories of builds' clients are kept (see `runtime.buildkit.contexts`)."""
        return self.root / "build-contexts"

    @property
    def trash(self) -> Path:
        """What was removed and is still to be deleted from the disk (see `runtime.trash`)."""
        return self.root / "trash"

    @property
    def networks(self) -> Path:
        """The records of networks, a file each."""
        return self.root / "networks"

    @property
    def images(self) -> Path:
        """The records of images, a file each: their configuration, names and size."""
        return self.root / "images"

    @property
    def build_cache(self) -> Path:
        """What build steps led to, a line each."""
        return self.root / "build-cache.jsonl"

    @property
    def format(self) -> Path:
        """A file with the version of the state's format."""
        return self.root / "format"

    @property
    def reserve(self) -> Path:
        """Room on the disk that is kept for records."""
        return self.root / "reserve"

    @property
    def root_lock(self) -> Path:
        """The lock of the engine that has this root (see `runtime.root_lock`)."""
        return self.root / "engine.lock"

    @property
    def database(self) -> Path:
        """Where earlier versions kept their state: a SQLite database."""
        return self.root / "state.db"

    @property
    def endpoints(self) -> Path:
        """The records of attachments to networks, a file each."""
        return self.run / "endpoints"

    @property
    def engine_socket(self) -> Path:
        """Where the engine serves the Docker Engine API."""
        return self.run / "engine.sock"

    @property
    def engine_log(self) -> Path:
        """What a detached engine prints."""
        return self.run / "engine.log"

    @property
    def keeper_socket(self) -> Path:
        """Where the keeper listens."""
        return self.run / "keeper.sock"

    @property
    def doorman_socket(self) -> Path:
        """Where the doorman listens to engines."""
        return self.run / "doorman.sock"

    @property
    def host_socket(self) -> Path:
        """Where a user's engine reaches the process that stays outside of its namespaces."""
        return self.run / "host.sock"

    @property
    def bridges_netns(self) -> Path:
        """The network namespace of a user's bridges, pinned; root's are in the host's."""
        return self.run / "bridges.net"

    @property
    def netns(self) -> Path:
        """Pinned network namespaces, a file a container."""
        return self.run / "netns"

    @property
    def bundles(self) -> Path:
        """OCI bundles of running containers, a directory a container."""
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
