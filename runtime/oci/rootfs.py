"""The container's root filesystem: mounts, devices, masked and read-only paths.

Everything is set up before pivot_root(2), with the host's /proc and /dev, and through descriptors. Symbolic links in an
image or volume are resolved inside the root (openat2(2), RESOLVE_IN_ROOT). A mount gets its flags before it is attached
(open_tree(2), mount_setattr(2)), so another container with the same volume can't exchange a path in between.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence

from runtime.errors import KernelError
from runtime.hints import TYPE_CHECKING
from runtime.linux import mountinfo, userns
from runtime.linux import syscalls as linux
from runtime.oci.copying import copy_tree
from runtime.oci.mount_options import MountOptions
from runtime.oci.overlay import mount_overlay
from runtime.oci.premade_mount import PremadeMount
from runtime.oci.process import StartError

if TYPE_CHECKING:
    from runtime.oci.types import OciDevice, OciMount, OciSpec

DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
LINKS = (
    ("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"), ("pts/ptmx", "ptmx"), ("/proc/kcore", "core"),
)  # fmt: skip
MOUNTABLE_PROC = frozenset(
    "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo net/dev sys/kernel/ns_last_pid "
    "sys/crypto/fips_enabled".split()
)
"""Files below /proc on which a mount is allowed, as lxcfs needs it."""
HOST_OWN = {"proc": "/proc", "sysfs": "/sys", "mqueue": "/dev/mqueue"}
"""Filesystems that show a namespace, by type: in a namespace that another user owns, the host's mount is bound instead."""
LINKS_FOLLOWED = 40
EXHAUSTED = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class RootError(StartError):
    """The root filesystem can't be set up with this image or these mounts."""


class Root:
    """A root directory, which is a mount point, and operations inside it."""

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self.descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, path: str, flags: int, resolve: int = 0) -> int:
        """Open `path` as if in a chroot to this directory. Raises KernelError."""
        resolve |= linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS
        return linux.open_inside(self.descriptor, os.fsencode(path), flags, resolve)

    def find(self, path: str) -> int:
        """Return an O_PATH descriptor of `path`, -1 if it does not exist."""
        try:
            return self.open(path, os.O_PATH)
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return -1

    def provide(self, path: str, is_directory: bool, links: int = LINKS_FOLLOWED) -> int:
        """Return an O_PATH descriptor of `path`; create missing parts of it, also behind dangling links."""
        try:
            return self.open(path, os.O_PATH)
        except KernelError as error:
            if error.errno != errno.ENOENT or not links:
                raise
        parent, name = os.path.split(path.rstrip("/"))
        parent_descriptor = self.provide(parent or "/", True, links)
        try:
            try:
                if is_directory:
                    os.mkdir(name, 0o755, dir_fd=parent_descriptor)
                else:
                    flags = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                    os.close(os.open(name, flags, 0o644, dir_fd=parent_descriptor))
            except FileExistsError:
                # a dangling link
                target = os.readlink(name, dir_fd=parent_descriptor)
                inside = target if target.startswith("/") else f"{parent}/{target}"
                return self.provide(inside, is_directory, links - 1)
            return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_descriptor)
        finally:
            os.close(parent_descriptor)

    def place_of(self, descriptor: int) -> str:
        """Return the path of `descriptor` relative to this root."""
        return os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(self.path.rstrip("/")) or "/"


def prepare(
    spec: OciSpec, bundle: str, hierarchies: Mapping[str, str] | None, made: Sequence[PremadeMount] = ()
) -> Root:
    """Mount the container's root and everything in it; `finish` then enters it.

    `made` are mounts made in advance, which are attached if they fit. `hierarchies` (see `Cgroups.shown`) are the
    directories for /sys/fs/cgroup: version 1's by controller; with version 2 {} if the container has a cgroup namespace,
    else {"unified": the host's mount}, since mounting another from the host's namespace would change its options.

    Runs in the child, in its own mount namespace. Raises RootError, KernelError, OSError.
    """
    mounts = list(spec.get("mounts") or ())
    settings = spec.get("linux") or {}
    # cloned before mounts become slaves: a mount with shared propagation must be in the host's peer group
    sources = []
    for entry in mounts:
        try:
            sources.append(_source(entry) if _is_bind(entry) else -1)
        except (KernelError, OSError) as error:
            raise _mount_error(entry, error) from error
    linux.mount(None, "/", None, linux.MS_SLAVE | linux.MS_REC)
    path = os.path.join(bundle, spec["root"]["path"])
    if mounts and mounts[0]["destination"] == "/" and mounts[0]["type"] == "overlay":
        mount_overlay(path, mounts.pop(0)["options"])
        sources.pop(0)
    else:
        linux.mount(path, path, None, linux.MS_BIND | linux.MS_REC)
    root = Root(path)
    umask = os.umask(0)
    fitting = {tree.point: tree for tree in made if tree.fits(mounts, settings)}
    covered = [entry for tree in fitting.values() for entry in tree.entries]
    for entry, source in zip(mounts, sources, strict=True):
        try:
            if source >= 0:
                _bind(root, entry, source)
            elif entry not in covered:
                mount_entry(root, entry, hierarchies)
            elif entry["destination"] in fitting:
                _attach(root, entry, fitting[entry["destination"]].descriptor)
        except (KernelError, OSError) as error:
            raise _mount_error(entry, error) from error
    if "/dev" not in fitting and not any(_is_bind(one) and one["destination"].rstrip("/") == "/dev" for one in mounts):
        make_default_devices(root)
    for device in settings.get("devices") or ():
        _device(root, device)
    done = {path for tree in fitting.values() for path in (*tree.hidden, *tree.protected)}
    for act, paths in ((hide, settings.get("maskedPaths")), (protect, settings.get("readonlyPaths"))):
        act(root, [path for path in paths or () if path not in done])
    os.umask(umask)
    return root


def bind(path: str, mounts: Sequence[OciMount]) -> None:
    """Bind-mount `mounts` of a document into the root at `path`, for a task that runs there."""
    if mounts:
        root = Root(path)
        for entry in mounts:
            _bind(root, entry, _source(entry))
        os.close(root.descriptor)


def finish(root: Root, *, read_only: bool) -> None:
    """Make `root` the root of the mount namespace (pivot_root(2)) and unmount the old one."""
    if read_only:
        linux.set_mount(root.descriptor, linux.MOUNT_ATTR_RDONLY, recursive=False)
    os.fchdir(root.descriptor)
    os.close(root.descriptor)
    linux.call("pivot_root", b".", b".")
    linux.umount2(".", linux.MNT_DETACH)
    os.chdir("/")


def finish_without_pivot(root: Root, *, read_only: bool) -> None:
    """Make `root` the root by MS_MOVE and chroot(2): pivot_root(2) does not work from an initramfs."""
    if read_only:
        linux.set_mount(root.descriptor, linux.MOUNT_ATTR_RDONLY, recursive=False)
    for mount in mountinfo.own_mounts():
        # if a process escapes to the old root, it must not find the host's /proc and /sys there
        if mount.kind in ("proc", "sysfs") and not f"{mount.point}/".startswith(f"{root.path.rstrip('/')}/"):
            try:
                linux.umount2(mount.point, linux.MNT_DETACH)
            except KernelError:
                linux.mount("tmpfs", mount.point, "tmpfs", linux.MS_RDONLY, "size=0")
    os.fchdir(root.descriptor)
    os.close(root.descriptor)
    linux.mount(root.path, "/", None, linux.MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def mount_entry(root: Root, entry: OciMount, hierarchies: Mapping[str, str] | None) -> None:
    """Mount an entry that is not a bind mount: a new filesystem, or the cgroup view."""
    if entry.get("type") == "cgroup":
        _mount_cgroups(root, entry, hierarchies)
    else:
        _mount(root, entry)


def _mount_error(entry: OciMount, error: KernelError | OSError) -> Exception:
    """Return an error that names the mount; the error itself where it says what to do, or callers know it."""
    number = error.errno or 0
    if number in EXHAUSTED or getattr(error, "hint", None):
        return error
    reason = os.strerror(number).lower()
    if number == errno.EROFS:
        reason = "the mount point is missing there and can't be made: read-only file system"
    call = f" ({error.syscall}: {errno.errorcode.get(number, number)})" if isinstance(error, KernelError) else ""
    return RootError(f"error mounting {_pair(entry)}: {reason}{call}")


def _pair(entry: OciMount) -> str:
    return f'"{entry.get("source") or entry.get("type")}" to rootfs at "{entry["destination"]}"'


def _attach(root: Root, entry: OciMount, made: int) -> None:
    """Attach a mount made in advance at the destination of `entry`."""
    target = _target(root, entry)
    linux.attach_mount(made, target)
    os.close(target)
    os.close(made)


def _is_bind(entry: OciMount) -> bool:
    return entry.get("type") == "bind" or MountOptions(entry.get("options") or ()).is_bind


def _source(entry: OciMount) -> int:
    """Return a detached clone of the mount at a bind's source, with its flags and propagation set.

    `mount` in an entry (not part of the specification) is the descriptor of an existing clone.
    """
    options = MountOptions(entry.get("options") or ())
    is_recursive = bool(options.flags & linux.MS_REC)
    if entry.get("mount") is not None:
        source = int(entry["mount"])
    elif entry.get("namespace"):
        source = _clone_elsewhere(entry["namespace"], entry["source"], is_recursive)
    elif entry.get("subpath"):
        # a container with this volume may have created links in it: they must not lead out of it
        volume = os.open(entry["source"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        resolve = linux.RESOLVE_BENEATH | linux.RESOLVE_NO_MAGICLINKS
        inside = linux.open_inside(volume, os.fsencode(entry["subpath"]), os.O_PATH, resolve)
        source = linux.clone_mount(inside, "", recursive=is_recursive)
        os.close(volume)
        os.close(inside)
    else:
        source = linux.clone_mount(linux.AT_FDCWD, entry["source"], recursive=is_recursive)
    for (attributes, clear), is_wide in ((options.attributes, False), (options.recursive, True)):
        if attributes or clear:
            linux.set_mount(source, attributes, clear=clear, recursive=is_wide)
    _spread(source, options)
    return source


def _spread(mounted: int, options: MountOptions) -> None:
    for change in options.propagation:
        linux.set_mount(mounted, 0, propagation=change & ~linux.MS_REC, recursive=bool(change & linux.MS_REC))


def _clone_elsewhere(namespace: str, path: str, is_recursive: bool) -> int:
    """Return a detached clone of the mount at `path` in another mount namespace."""
    own, other = (os.open(one, os.O_RDONLY | os.O_CLOEXEC) for one in ("/proc/self/ns/mnt", namespace))
    linux.call("setns", other, linux.CLONE_NEWNS)
    try:
        return linux.clone_mount(linux.AT_FDCWD, path, recursive=is_recursive)
    finally:
        linux.call("setns", own, linux.CLONE_NEWNS)
        os.close(own)
        os.close(other)


def _bind(root: Root, entry: OciMount, source: int) -> None:
    is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
    target = root.provide(entry["destination"], is_directory)
    _keep_proc(root, entry, target)
    if is_directory != stat.S_ISDIR(os.fstat(target).st_mode):
        kinds = ("a directory", "a file") if is_directory else ("a file", "a directory")
        raise RootError(
            f"error mounting {_pair(entry)}: mount src={entry['source']}, dst={entry['destination']}: not a directory",
            hint=f"the source is {kinds[0]}, and {kinds[1]} is there in the image",
        )
    linux.attach_mount(source, target)
    os.close(source)
    os.close(target)


def _mount(root: Root, entry: OciMount) -> None:
    kind, source = entry.get("type"), entry.get("source")
    options = MountOptions(entry.get("options") or ())
    covered = root.find(entry["destination"]) if kind == "tmpfs" and not options.has_mode else -1
    target = _target(root, entry)
    if covered >= 0:
        # as runc does: a tmpfs over a directory has its mode, and only a new one that of tmpfs itself (1777)
        mode = f"mode={stat.S_IMODE(os.fstat(covered).st_mode):o}"
        options.data = f"{options.data},{mode}" if options.data else mode
        os.close(covered)
    if kind == "overlay":
        mount_overlay(f"/proc/self/fd/{target}", entry["options"])
    else:
        _mount_new(source or kind, target, kind, options)
    if options.propagation or options.copies_up or options.recursive != (0, 0):
        mounted = root.open(entry["destination"], os.O_RDONLY | os.O_NONBLOCK)
        if options.copies_up:
            copy_tree(f"/proc/self/fd/{target}", mounted)
        attributes, clear = options.recursive
        if attributes or clear:
            linux.set_mount(mounted, attributes, clear=clear, recursive=True)
        _spread(mounted, options)
        os.close(mounted)
    os.close(target)


def _mount_new(source: str | None, target: int, kind: str | None, options: MountOptions) -> None:
    """Mount a filesystem; on EPERM for one that shows a namespace, bind the host's mount instead."""
    data = options.data
    if kind == "devpts" and userns.has_one_user():  # GID 5 is not mapped there
        data = ",".join(option for option in data.split(",") if not option.startswith("gid="))
    try:
        linux.mount(source, f"/proc/self/fd/{target}", kind, options.flags, data or None)
    except KernelError as error:
        if error.errno != errno.EPERM or kind not in HOST_OWN:
            raise
        if kind == "proc" and os.readlink("/proc/self") != str(os.getpid()):
            # the PID namespace is new and ours: the reason is "mnt_already_visible", a /proc covered by other mounts
            raise RootError(
                "no /proc can be mounted: parts of this machine's own are covered (is it a container?)"
            ) from error
        if not os.path.exists(HOST_OWN[kind]):
            return
        same = linux.clone_mount(linux.AT_FDCWD, HOST_OWN[kind], recursive=True)
        linux.set_mount(same, options.attributes[0], recursive=True)
        linux.attach_mount(same, target)
        os.close(same)


def _target(root: Root, entry: OciMount) -> int:
    """Return the descriptor of the directory on which a filesystem will be mounted."""
    kind = entry.get("type")
    if kind in ("proc", "sysfs"):
        return _ordinary_directory(root, entry["destination"], str(kind))
    target = root.provide(entry["destination"], True)
    _keep_proc(root, entry, target)
    return target


def _ordinary_directory(root: Root, path: str, kind: str) -> int:
    """Return the descriptor of a directory whose path has no link: /proc and /sys must be at their exact paths."""
    os.close(root.provide(path, True))
    try:
        return root.open(path, os.O_PATH | os.O_DIRECTORY, linux.RESOLVE_NO_SYMLINKS)
    except KernelError as error:
        raise RootError(f'filesystem "{kind}" must be mounted on an ordinary directory: {path} is none') from error


def _keep_proc(root: Root, entry: OciMount, target: int) -> None:
    """Refuse a mount that would cover kernel information in /proc."""
    place = root.place_of(target)
    if place == "/proc" or (place.startswith("/proc/") and place[6:] not in MOUNTABLE_PROC):
        raise RootError(f'"{entry["destination"]}" cannot be mounted because it is inside /proc')


def _mount_cgroups(root: Root, entry: OciMount, hierarchies: Mapping[str, str] | None) -> None:
    """Mount the container's cgroup view: version 2's tree, or a tmpfs with version 1's hierarchies."""
    point = entry["destination"]
    kept = [option for option in entry.get("options") or () if option in ("ro", "nosuid", "noexec", "nodev")]
    if hierarchies is None:
        _mount(root, {"destination": point, "type": "tmpfs", "source": "tmpfs", "options": ["size=0", *kept]})
        return
    if not hierarchies:
        _mount(root, {**entry, "type": "cgroup2", "source": "cgroup"})
        return
    if "unified" in hierarchies:
        one: OciMount = {"destination": point, "source": hierarchies["unified"], "options": ["bind", *kept]}
        _bind(root, one, _source(one))
        return
    options = ["nosuid", "noexec", "nodev", "mode=755"]
    _mount(root, {"destination": point, "type": "tmpfs", "source": "tmpfs", "options": options})
    for controller, directory in hierarchies.items():
        one = {"destination": f"{point}/{controller}", "source": directory, "options": ["bind", *kept]}
        _bind(root, one, _source(one))
    if "ro" in kept:
        _set_read_only(root, point)


def _set_read_only(root: Root, path: str) -> None:
    mounted = root.open(path, os.O_PATH)
    linux.set_mount(mounted, linux.MOUNT_ATTR_RDONLY, recursive=False)
    os.close(mounted)


def make_default_devices(root: Root) -> None:
    """Create the nodes and links of /dev (OCI runtime spec, "Default Devices", "Dev symbolic links")."""
    dev = root.provide("/dev", True)
    for name, major, minor in DEVICES:
        _node(dev, name, 0o666 | stat.S_IFCHR, os.makedev(major, minor), f"/dev/{name}")
    for target, name in LINKS:
        try:
            os.symlink(target, name, dir_fd=dev)
        except FileExistsError:
            continue
    os.close(dev)


def _device(root: Root, device: OciDevice) -> None:
    folder, name = os.path.split(device["path"])
    parent = root.provide(folder, True)
    kind = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}[device["type"]]
    number = os.makedev(device.get("major", 0), device.get("minor", 0))
    if _node(parent, name, device.get("fileMode", 0o666) | kind, number, device["path"]):
        os.chown(name, device.get("uid", 0), device.get("gid", 0), dir_fd=parent, follow_symlinks=False)
    else:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_IFMT(there.st_mode) != kind or (kind != stat.S_IFIFO and there.st_rdev != number):
            raise RootError(f"{device['path']} exists, and is not the requested device")
    os.close(parent)


def _node(parent: int, name: str, mode: int, number: int, path: str) -> bool:
    """Create a device node unless the name exists; return whether it was created.

    Without permission, as in a user namespace, the host's node is bind-mounted instead; `path` is where it probably is.
    """
    try:
        os.mknod(name, mode, number, dir_fd=parent)
    except FileExistsError:
        return False
    except PermissionError:
        _bind_node(parent, name, mode, number, path)
        return False
    return True


def _host_nodes() -> Iterator[str]:
    return (f"{folder}/{name}" for folder, _, names in os.walk("/dev") for name in names)


def _is_node(path: str, mode: int, number: int) -> bool:
    """Whether `path` (not followed) is the node of device `number` with the file type of `mode`."""
    try:
        about = os.lstat(path)
    except OSError:
        return False
    return about.st_rdev == number and stat.S_IFMT(about.st_mode) == stat.S_IFMT(mode)


def _bind_node(parent: int, name: str, mode: int, number: int, path: str) -> None:
    """Bind-mount the host's node of device `number`."""
    found = next((one for one in (path, *_host_nodes()) if _is_node(one, mode, number)), None)
    if found is None:
        raise RootError(f"device {name}: the host has no node {os.major(number)}:{os.minor(number)} in /dev")
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=parent))
    target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    same = linux.clone_mount(linux.AT_FDCWD, found, recursive=False)
    linux.attach_mount(same, target)
    os.close(same)
    os.close(target)


def hide(root: Root, paths: Sequence[str]) -> None:
    """Mount an empty directory or /dev/null over each of `paths` (OCI runtime spec, "Masked Paths")."""
    for path in paths:
        target = root.find(path)
        if target < 0:
            continue
        if stat.S_ISDIR(os.fstat(target).st_mode):
            linux.mount("tmpfs", f"/proc/self/fd/{target}", "tmpfs", linux.MS_RDONLY, "size=0")
        else:
            # the host's: the container's own /dev/null may come from the image or a volume
            nothing = linux.clone_mount(linux.AT_FDCWD, "/dev/null", recursive=False)
            linux.attach_mount(nothing, target)
            os.close(nothing)
        os.close(target)


def protect(root: Root, paths: Sequence[str]) -> None:
    """Make `paths` read-only (OCI runtime spec, "Readonly Paths")."""
    for path in paths:
        target = root.find(path)
        if target < 0:
            continue
        same = linux.clone_mount(target, "", recursive=True)
        linux.set_mount(same, linux.MOUNT_ATTR_RDONLY, recursive=True)
        linux.attach_mount(same, target)
        os.close(same)
        os.close(target)
