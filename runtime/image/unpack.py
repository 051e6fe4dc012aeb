"""A layer's tar stream becomes a directory that overlayfs can use (OCI image layer specification, "Applying")."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import IO, BinaryIO

from runtime.errors import BadRequestError, InternalError
from runtime.image import tar
from runtime.image.assembly import AssemblyWriter
from runtime.image.compression import CompressionError, decoded
from runtime.linux import userns
from runtime.linux.ownership import chown
from runtime.space import FULL, keep_room

WHITEOUT, OPAQUE, METADATA = ".wh.", ".wh..wh..opq", ".wh..wh."
OPAQUE_XATTRS = ("trusted.overlay.opaque", "user.overlay.opaque")
"""Overlayfs's mark of a directory that hides those below it: with root's rights, and in a user namespace."""
XATTR_PREFIX = "SCHILY.xattr."
FOREIGN_XATTRS = ("trusted.overlay.", "user.overlay.")
"""Attributes that steer overlayfs: a layer says what it hides by whiteouts, and nothing else about other layers."""
XATTR_NAMES = ("user.", "trusted.", "security.")
"""Attributes that mean nothing to the kernel when they are set, but for their names and sizes."""
OWN_FAULTS = (errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
"""Errors of writing that are this machine's, not the layer's."""
MOST_LINKS = 40
"""Symbolic links that one path may lead through, as in the kernel (path_resolution(7))."""
AHEAD = 8
"""Pieces, of about a mebibyte, that reading may be ahead of extraction, and extraction of digesting."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Unpacked:
    """A layer that was unpacked: its `diff_id`, and the bytes of its files; of its archive, if that was kept."""

    diff_id: str
    size_bytes: int
    archive_bytes: int | None = None


Blob = Path | Callable[[], BinaryIO]
"""A layer's archive, compressed or not: a file, or what opens it for each reader."""


def unpack(
    blob: Blob, target: Path, progress: Callable[[int], None] | None = None, assembly: Path | None = None
) -> Unpacked:
    """Unpack the layer at `blob` into the new directory `target`. Blocking.

    Every path is taken below `target`: absolute names and ".." are refused, and no link of the layer is followed.
    `progress` takes the bytes of `blob` read so far. At `assembly` is kept what it takes to write the archive again.
    Raises BadRequestError on a malformed layer, OSError when the disk is full, InternalError for its other faults.
    """
    target.mkdir(parents=True)
    writer = AssemblyWriter(assembly) if assembly is not None else None
    try:
        with faults(target), Pieces(blob, progress, target) as pieces:
            source = tar.Input(iter(pieces), writer.raw if writer is not None else ignore)
            size_bytes = _Extraction(str(target), writer).run(source)
            source.rest()
            return Unpacked(pieces.digest(), size_bytes)
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def faults(target: Path) -> Iterator[None]:
    """Raise what goes wrong with a layer that comes into the directory `target` as `unpack` says."""
    try:
        yield
    except (tar.TarError, tarfile.TarError, CompressionError) as error:
        raise BadRequestError(f"the layer can't be read: {error}", "it is damaged: pull or build it again") from error
    except OSError as error:
        if error.errno in FULL:
            raise OSError(error.errno, error.strerror) from error  # without a name that nobody knows
        where = f" at {os.path.relpath(error.filename, target)}" if isinstance(error.filename, str) else ""
        if error.errno in OWN_FAULTS:
            raise InternalError(
                f"the layer can't be unpacked{where}: {error.strerror}",
                f"repair the disk of {target}",
            ) from error
        raise BadRequestError(f"the layer can't be unpacked{where}: {error.strerror}", "build it again") from error
    except (ValueError, OverflowError) as error:  # a name with a NUL, a number that no file can have
        raise BadRequestError(f"the layer can't be unpacked: {error}", "it is damaged: build it again") from error


def ignore(data: bytes | memoryview) -> None:
    """Take raw bytes that nobody keeps."""


class Pieces:
    """A blob's uncompressed content, read and digested in a thread of its own: all three are mostly outside Python's lock."""

    def __init__(
        self, blob: Blob, progress: Callable[[int], None] | None, place: Path, copy: IO[bytes] | None = None
    ) -> None:
        """`place` is where it goes; `copy` is an unbuffered file that gets what is taken."""
        self._copy = copy
        self._blob = blob
        self._place = place
        self._progress = progress
        self._pool = ThreadPoolExecutor(2, "unpack")
        self._decoded: Queue[tuple[bytes, int] | Exception | None] = Queue(AHEAD)
        self._undigested: Queue[bytes | None] = Queue(AHEAD)
        self._is_wanted = True
        self._is_read = False

    def __enter__(self) -> Pieces:
        self._pool.submit(self._decode)
        self._hash = self._pool.submit(self._digest)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_wanted = False
        while not self._is_read:
            self._is_read = not isinstance(self._decoded.get(), tuple)
        self._undigested.put(None)
        self._pool.shutdown()

    def _decode(self) -> None:
        try:
            with self._blob() if callable(self._blob) else open(self._blob, "rb", buffering=0) as file:
                for piece in decoded(file):
                    self._decoded.put((piece, file.tell()))
                    if not self._is_wanted:
                        break
            self._decoded.put(None)
        except Exception as error:  # noqa: BLE001 - raised where the pieces are taken
            self._decoded.put(error)

    def _digest(self) -> str:
        digest = hashlib.sha256()
        while (piece := self._undigested.get()) is not None:
            digest.update(piece)
        return f"sha256:{digest.hexdigest()}"

    def __iter__(self) -> Iterator[bytes]:
        while isinstance(item := self._decoded.get(), tuple):
            piece, position = item
            keep_room(self._place, len(piece))
            self._undigested.put(piece)
            if self._progress is not None:
                self._progress(position)
            if self._copy is not None:
                write_all(self._copy.fileno(), memoryview(piece))
            yield piece
        self._is_read = True
        if item is not None:
            raise item

    def digest(self) -> str:
        """Return the digest of all pieces, once they were taken."""
        self._undigested.put(None)
        return self._hash.result()


class _Extraction:
    """Makes what the entries of one layer say, below `root`."""

    def __init__(self, root: str, assembly: AssemblyWriter | None) -> None:
        self._root = root
        self._assembly = assembly
        self._directories: dict[str, tar.TarEntry | None] = {root: None}
        self._aliases: dict[str, str] = {}
        """Where directories' names lead that go through links of the layer."""
        self._owner = (os.geteuid(), os.getegid())
        self._has_all_rights = userns.is_initial()
        self._inherits_group = bool(os.stat(root).st_mode & stat.S_ISGID)
        self._umask = _umask()

    def run(self, source: tar.Input) -> int:
        """Extract everything; return the bytes of the files."""
        size_bytes = 0
        for entry in tar.entries(source):
            relative = safe_name(entry.name)
            path = self._root if relative == "." else f"{self._root}/{relative}"
            parent, _, name = path.rpartition("/")
            if path != self._root and parent not in self._directories:
                parent = self._parent(parent)
                path = f"{parent}/{name}"
                relative = path[len(self._root) + 1 :]
            if path != self._root and name.startswith(WHITEOUT):
                self._whiteout(parent, name)
                source.skip(entry.size + tar.padding(entry.size))
            elif entry.kind == tar.DIRECTORY:
                self._make_directory(path)
                self._directories[path] = entry
            elif path == self._root:
                raise BadRequestError("the layer's own root is not a directory", "it is damaged: build it again")
            elif entry.kind == tar.REGULAR:
                size_bytes += self._file(path, relative, entry, source)
            else:
                self._special(path, entry)
                source.skip(entry.size + tar.padding(entry.size))
        for path in reversed(self._directories):
            if (found := self._directories[path]) is not None:
                self._attributes(path, found)
        return size_bytes

    # --- directories

    def _parent(self, path: str) -> str:
        """Return the directory that `path` below the root leads to, made with those above it where they are missing.

        A symbolic link of the layer's own on the way is followed, inside the root, as layers of usr-merged systems and
        joined layers want it (`lib -> usr/lib`, then `lib/file`); anything else in the way is replaced by a directory.
        """
        if path in self._aliases:
            return self._aliases[path]
        pending = path[len(self._root) + 1 :].split("/")[::-1]
        found, links = self._root, 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":  # of a link
                found = found if found == self._root else os.path.dirname(found)
                continue
            step = f"{found}/{part}"
            if step not in self._directories and os.path.islink(step):
                target = os.readlink(step)
                links += 1
                if links > MOST_LINKS:
                    raise BadRequestError(
                        f"the layer's link {part!r} leads in a circle", "it is damaged: build it again"
                    )
                if target.startswith("/"):
                    found = self._root
                pending += target.split("/")[::-1]
                continue
            self._make_directory(step)
            found = step
        self._aliases[path] = found
        return found

    def _make_directory(self, path: str) -> None:
        if path in self._directories:
            return
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            self._clear(path)
            os.mkdir(path, 0o755)
        self._directories[path] = None

    def _clear(self, path: str) -> None:
        """Remove what an earlier entry of the layer made; then its archive can't be put together from the files."""
        if self._assembly is not None:
            self._assembly.is_exact = False
        if path in self._directories:
            for gone, _, _ in os.walk(path):  # not all that are known: a layer may replace thousands
                self._directories.pop(gone, None)
            shutil.rmtree(path)
        else:
            os.unlink(path)
        self._aliases.clear()

    def _whiteout(self, parent: str, name: str) -> None:
        if name == OPAQUE:
            mark_opaque(parent)
            return
        if name.startswith(METADATA):  # of AUFS's own: its pseudo-links and the like are no files
            return
        hidden = f"{parent}/{_part(name[len(WHITEOUT) :])}"
        if not os.path.lexists(hidden):
            # overlayfs: a whiteout is a 0/0 character device (kernel Documentation/filesystems/overlayfs.rst)
            os.mknod(hidden, stat.S_IFCHR, 0)

    # --- everything else

    def _file(self, path: str, relative: str, entry: tar.TarEntry, source: tar.Input) -> int:
        mode = entry.mode & 0o777
        try:
            descriptor = os.open(path, NEW_FILE, mode)
        except FileExistsError:
            self._clear(path)
            descriptor = os.open(path, NEW_FILE, mode)
        try:
            size = entry.size
            if entry.sparse is not None:
                size = self._sparse(descriptor, entry, source)
            else:
                if size and self._assembly is not None:
                    self._assembly.file(relative, size)
                for piece in source.payload(size):
                    write_all(descriptor, piece)
                if size & 511:
                    source.skip(tar.padding(size))
            if (entry.uid, entry.gid) != self._owner or self._inherits_group:
                chown(descriptor, entry.uid, entry.gid)
            if entry.mode != mode & ~self._umask:
                os.fchmod(descriptor, entry.mode)
            for key, value in entry.xattrs.items():
                _set_xattr(descriptor, key, value)
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(descriptor)
        return size

    def _sparse(self, descriptor: int, entry: tar.TarEntry, source: tar.Input) -> int:
        """Write a sparse file's pieces to their places; in the assembly they count as raw."""
        left = entry.size
        for offset, size in entry.sparse or ():
            if size < 0 or offset < 0 or size > left or offset + size > entry.real_size:
                raise tar.TarError("a sparse file's map leads outside")
            os.lseek(descriptor, offset, os.SEEK_SET)
            left -= size
            while size:
                piece = source.header(min(size, 1 << 20))
                if not piece:
                    raise tar.TarError("it ends too early")
                write_all(descriptor, memoryview(piece))
                size -= len(piece)
        source.skip(left + tar.padding(entry.size))
        os.ftruncate(descriptor, entry.real_size)
        return entry.real_size

    def _special(self, path: str, entry: tar.TarEntry) -> None:
        if entry.kind == tar.OTHER:
            return
        if os.path.lexists(path):
            self._clear(path)
        if entry.kind == tar.LINK:
            source = safe_name(entry.link)
            holder, _, last = f"{self._root}/{source}".rpartition("/")
            if holder not in self._directories:
                holder = self._parent(holder)
            try:
                os.link(f"{holder}/{last}", path, follow_symlinks=False)
            except OSError as error:
                raise tar.TarError(f"its entry {entry.name!r} links to {source!r}: {error.strerror}") from error
            return
        if entry.kind == tar.SYMLINK:
            os.symlink(entry.link, path)
        elif entry.kind == tar.FIFO:
            os.mkfifo(path, 0o600)
        elif not self._has_all_rights:  # nodes of devices are for the machine's own root alone (mknod(2))
            return
        else:
            kind = stat.S_IFCHR if entry.kind == tar.CHARACTER else stat.S_IFBLK
            os.mknod(path, kind | 0o600, os.makedev(entry.major, entry.minor))
        self._attributes(path, entry)

    def _attributes(self, path: str, entry: tar.TarEntry) -> None:
        if (entry.uid, entry.gid) != self._owner or self._inherits_group:
            chown(path, entry.uid, entry.gid)
        if entry.kind != tar.SYMLINK:
            os.chmod(path, entry.mode)
        for key, value in entry.xattrs.items():
            _set_xattr(path, key, value)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)


def safe_name(name: str) -> str:
    """Return the path of an entry relative to the root, "." for the root itself. Raises BadRequestError."""
    if "/." not in name and "//" not in name and name[:1] not in ("/", ".", "") and name[-1] != "/":
        return name  # by far the most are as they should be
    normal = os.path.normpath(name.lstrip("/") or ".")
    if normal == ".." or normal.startswith("../"):
        raise BadRequestError(f"the layer's entry {name!r} leads outside")
    return normal


def _part(name: str) -> str:
    if name in ("", ".", ".."):
        raise BadRequestError(f"the layer's whiteout {WHITEOUT}{name} names no file")
    return name


def write_all(descriptor: int, data: memoryview) -> None:
    """Write all of `data` to a descriptor. Raises OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


def _set_xattr(where: str | int, key: str, value: bytes) -> None:
    """Set an attribute, unless it is overlayfs's or one that the filesystem does not carry here."""
    if key.startswith(FOREIGN_XATTRS):
        return
    try:
        if isinstance(where, int):
            os.setxattr(where, key, value)
        else:
            os.setxattr(where, key, value, follow_symlinks=False)
    except OSError as error:
        # user attributes are for files and directories alone: on what else has them, EPERM (xattr(7)); as those of
        # other kinds are in a user namespace
        may_lack = key.startswith("user.") or not userns.is_initial()
        if error.errno != errno.EOPNOTSUPP and not (error.errno == errno.EPERM and may_lack):
            raise


def mark_opaque(directory: str) -> None:
    """Have a directory of a layer hide those below it."""
    os.setxattr(directory, OPAQUE_XATTRS[not userns.is_initial()], b"y")


def is_opaque(directory: str) -> bool:
    """Return whether a directory of a layer hides those below it."""
    for name in OPAQUE_XATTRS:
        try:
            if os.getxattr(directory, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def _umask() -> int:
    """Return this process's umask, without changing it for a moment as umask(2) would."""
    with open("/proc/self/status") as status:
        return next((int(line.split()[1], 8) for line in status if line.startswith("Umask:")), 0o777)
