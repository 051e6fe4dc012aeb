"""Work inside a container's root filesystem: archives, copy-up, look-ups of files.

Each task runs in a child of the keeper, inside the root, so that no symbolic link leads out of it: in the mount namespace
of the running container, or else chrooted into an overlay that is mounted for it in a new mount namespace.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from runtime.hints import Any
from runtime.linux import syscalls as linux
from runtime.oci import launch, rootfs
from runtime.oci.copying import copy_tree
from runtime.oci.overlay import mount_overlay
from runtime.oci.user import resolve

CAPABILITY = "security.capability"
CAPABILITY_HEADER = f"SCHILY.xattr.{CAPABILITY}"
"""Its name in tar archives; the only extended attribute that Docker includes."""
KERNEL_POINTS = ("/proc", "/sys", "/dev")
LARGEST_SHOWN_BYTES = 16 << 20


def run(message: Mapping[str, Any], descriptors: Sequence[int], live: int | None) -> Any:
    """Enter the root that `message` describes and run its task; called in the forked child. `live`: init's pidfd."""
    _prepare_python()
    task = TASKS[message["name"]]
    where = message["rootfs"]
    if live is not None:
        linux.call("setns", live, linux.CLONE_NEWNS)
    else:
        linux.call("unshare", linux.CLONE_NEWNS)
        linux.mount(None, "/", None, linux.MS_SLAVE | linux.MS_REC)
        root = where["mountpoint"]
        if where.get("lower"):
            options = [f"lowerdir+={layer}" for layer in where["lower"]]
            if where.get("upper"):
                options += [f"upperdir={where['upper']}", f"workdir={where['work']}"]
            mount_overlay(root, options)
        rootfs.bind(root, where.get("binds") or ())
        os.chroot(root)
    os.chdir("/")
    return task(message["arguments"], descriptors)


def _prepare_python() -> None:
    """Import all that the tasks need: modules loaded after the root has changed would be the container's code."""
    import bz2  # noqa: F401 - tarfile imports these when it meets such an archive
    import lzma  # noqa: F401
    import shutil  # noqa: F401
    import tarfile
    import zlib  # noqa: F401

    # user and group names: the C library would load the container's NSS modules (nsswitch.conf(5))
    tarfile.pwd = tarfile.grp = None  # type: ignore[attr-defined]
    launch.forbid_imports()


def _read_file(arguments: Mapping[str, Any], _: Sequence[int]) -> str:
    # O_NONBLOCK: opening a FIFO would wait for a writer
    descriptor = os.open(arguments["path"], os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(errno.ENOENT, f"{arguments['path']} is not a regular file")
        return file.read()


def _user(arguments: Mapping[str, Any], _: Sequence[int]) -> int:
    """Return the number of the user; fails for one that has no account."""
    return resolve(arguments["user"]).uid


def _stat(arguments: Mapping[str, Any], _: Sequence[int]) -> dict[str, Any]:
    path = arguments["path"]
    # a slash behind a link to a directory means the directory, as for the kernel
    follows = path.endswith("/.") or (path.endswith("/") and os.path.isdir(path))
    found = os.stat(path) if follows else os.lstat(path.rstrip("/") or "/")
    is_link = stat.S_ISLNK(found.st_mode)
    return {
        "name": os.path.basename(path.rstrip("/")) or "/",
        "size": found.st_size,
        "mode": found.st_mode,
        "mtime": found.st_mtime,
        "linkTarget": os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))) if is_link else "",
    }


def _tar_out(arguments: Mapping[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
    """Write the tree at `path` as a tar stream; entry names start with its last part, with `bare` below it.

    The content of /proc, /sys and /dev of a running container is left out of a tree that contains these directories.
    """
    import tarfile

    path = arguments["path"]
    name = "." if path.endswith("/.") else os.path.basename(os.path.normpath(path)) or "."
    with os.fdopen(os.dup(descriptors[0]), "wb", buffering=1 << 20) as out, tarfile.open(fileobj=out, mode="w|") as tar:
        start = os.path.realpath(path) if path.endswith(("/", "/.")) else path
        root = os.lstat("/").st_dev
        shown = {point: found for point in KERNEL_POINTS if (found := _device(point)) not in (None, root)}
        if arguments.get("bare"):
            for entry in sorted(os.listdir(start)):
                _add(tar, os.path.join(start, entry), entry, shown)
        else:
            _add(tar, start, name, shown)
    return {}


def _device(path: str) -> int | None:
    try:
        return os.lstat(path).st_dev
    except OSError:
        return None


def _add(tar: Any, place: str, name: str, shown: Mapping[str, int | None]) -> None:
    """Add the file or tree at `place` as `name`; `shown` maps mount points of kernel filesystems to device numbers."""
    import io

    member = tar.gettarinfo(place, name)
    if member is None:  # a socket
        return
    # whole seconds, as in Docker: fractions need a pax header, two more blocks for each file
    member.mtime = int(member.mtime)
    if member.isdir():
        tar.addfile(member)
        if place not in shown:
            for entry in sorted(os.listdir(place)):
                _add(tar, os.path.join(place, entry), f"{name}/{entry}", shown)
    elif not member.isreg():
        tar.addfile(member)
    elif os.lstat(place).st_dev in shown.values():
        content = b""
        with suppress(OSError):  # st_size is 0 for files of the kernel: the size is known after reading
            descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                content = file.read(LARGEST_SHOWN_BYTES) or b""
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    else:
        if found := _capability(place):
            member.pax_headers = {CAPABILITY_HEADER: found.decode("utf-8", "surrogateescape")}
        with open(place, "rb") as file:
            tar.addfile(member, file)


def _capability(path: str) -> bytes:
    """Return a file's capabilities as stored (capabilities(7), "File capabilities"); b"" without any."""
    try:
        return os.getxattr(path, CAPABILITY, follow_symlinks=False)
    except OSError:
        return b""


def _tar_in(arguments: Mapping[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
    """Unpack a tar stream into directory `path`, created if `make` is set; all files belong to `user`, if given."""
    import tarfile

    owner = resolve(arguments["user"]) if arguments.get("user") else None
    path = arguments["path"]
    if arguments.get("make"):
        os.makedirs(path, exist_ok=True)
    elif not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, f"{path} is not a directory in the container")
    path = os.path.realpath(path)  # the archive's "." is no directory that takes the place of a link
    with (
        os.fdopen(os.dup(descriptors[0]), "rb", buffering=1 << 20) as source,
        tarfile.open(fileobj=source, mode="r|*") as tar,
    ):
        # as attribute: Debian 12's Python lacks `filter=`, and the default of 3.14 changes owners and modes
        tar.extraction_filter = lambda member, _: member
        for member in tar:
            member.name = _inside(member.name)
            if member.islnk():
                member.linkname = _inside(member.linkname)
            target = os.path.normpath(os.path.join(path, member.name))
            if member.issym():
                _check_link(path, target, member.linkname)
            if arguments.get("no_overwrite_dir_non_dir"):
                _check_kind(target, member.isdir())
            if member.isdir() and os.path.islink(target) and os.path.isdir(target):
                continue  # its files are unpacked through the link
            if owner is not None:
                member.uid, member.gid = owner.uid, owner.gid
            _make_way(os.path.join(path, member.name), member.isdir())
            tar.extract(member, path, set_attrs=True, numeric_owner=True)
            if member.isreg() and (found := member.pax_headers.get(CAPABILITY_HEADER)):
                with suppress(OSError):  # a filesystem without extended attributes
                    value = found.encode("utf-8", "surrogateescape")
                    os.setxattr(os.path.join(path, member.name), CAPABILITY, value, follow_symlinks=False)
    return {}


def _inside(name: str) -> str:
    """Return a member's name as a path relative to the target directory. Raises PermissionError if it leads out of it."""
    if os.path.normpath(name.lstrip("/")).split("/")[0] == "..":
        raise PermissionError(f"{name} is outside of the directory")
    return os.path.normpath(name.lstrip("/") or ".")


def _check_link(path: str, place: str, target: str) -> None:
    """Raise PermissionError if a relative link at `place` leads out of the directory `path`, as with Docker."""
    led = os.path.normpath(os.path.join(os.path.dirname(place), target.lstrip("/")))
    if led != path and not led.startswith(f"{path.rstrip('/')}/"):
        raise PermissionError(f'invalid symlink "{place}" -> "{target}"')


def _check_kind(path: str, is_directory: bool) -> None:
    """Raise OSError if a directory would be replaced by a file, or a file by a directory."""
    try:
        was_directory = stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    if was_directory and not is_directory:
        raise IsADirectoryError(f'cannot overwrite directory "{path}" with non-directory')
    if is_directory and not was_directory:
        raise NotADirectoryError(f'cannot overwrite non-directory "{path}" with directory')


def _make_way(path: str, for_directory: bool) -> None:
    """Remove what is at `path`, as Docker does, so that nothing is written through a link or into a file in use."""
    try:
        is_directory = stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    if is_directory and for_directory:
        return
    try:
        if is_directory:
            import shutil

            shutil.rmtree(path)
        else:
            os.unlink(path)
    except OSError as error:
        if error.errno != errno.EBUSY:  # a mount point can't be replaced, only written to
            raise


def _remove(arguments: Mapping[str, Any], _: Sequence[int]) -> dict[str, Any]:
    """Remove the files and trees at `paths`; a link in the last place is removed, and not what it leads to."""
    for path in arguments["paths"]:
        _make_way(path, for_directory=False)
    return {}


def _copy_up(arguments: Mapping[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
    """Copy directory `path` of the image, with its owner and mode, into an empty volume (the descriptor)."""
    path, volume = arguments["path"], descriptors[0]
    if not os.path.isdir(path) or os.listdir(volume):
        return {"copied": False}
    copy_tree(path, volume)
    return {"copied": True}


TASKS: Mapping[str, Callable[[Mapping[str, Any], Sequence[int]], Any]] = {
    "read_file": _read_file,
    "stat": _stat,
    "tar_out": _tar_out,
    "tar_in": _tar_in,
    "copy_up": _copy_up,
    "remove": _remove,
    "user": _user,
}
"""Name → function of (arguments, descriptors), which returns a value that `keeper.wire` can pack."""
