"""The container's root filesystem: mounts, devices, masked and read-only paths.

Everything is set up before pivot_root(2), with the host's /proc and /dev, and through descriptors. Symbolic links in an
image or volume are resolved inside the root (openat2(2), RESOLVE_IN_ROOT). A mount gets its flags before it is attached
(open_tree(2), mount_setattr(2)), so another container with the same volume can't exchange a path in between.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence

from runtime.errors import KernelError
from runtime.hints import TYPE_CHECKING
from runtime.linux import mountinfo, userns
from runtime.linux import syscalls as linux
from runtime.linux.filesystem import Option, new_filesystem
from runtime.oci import nodes
from runtime.oci.copying import copy_tree
from runtime.oci.mount_options import MountOptions
from runtime.oci.overlay import mount_overlay, mount_overlay_otherwise, open_overlay
from runtime.oci.premade_mount import PremadeMount
from runtime.oci.root import Root, RootError

if TYPE_CHECKING:
    from runtime.oci.types import OciMount, OciSpec

MOUNTABLE_PROC = frozenset(
    "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo net/dev sys/kernel/ns_last_pid "
    "sys/crypto/fips_enabled".split()
)
"""Files below /proc on which a mount is allowed, as lxcfs needs it."""
HOST_OWN = {"proc": "/proc", "sysfs": "/sys", "mqueue": "/dev/mqueue"}
"""Filesystems that show a namespace, by type: in a namespace that another user owns, the host's mount is bound instead."""
FILLED_LATER = ("tmpfs", "ramfs", "overlay")
"""Filesystems in which mount points, devices and files are created before they become read-only."""
PROC_ROOT_INODE = 1  # <linux/proc_fs.h>: PROC_ROOT_INO
EXHAUSTED = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def prepare(
    spec: OciSpec,
    bundle: str,
    hierarchies: Mapping[str, str] | None,
    made: Sequence[PremadeMount] = (),
    *,
    is_inherited: bool = False,
) -> Root:
    """Mount the container's root and everything in it; `finish` then enters it.

    `made` are mounts made in advance, which are attached if they fit. `hierarchies` (see `Cgroups.shown`) are the
    directories for /sys/fs/cgroup: version 1's by controller; with version 2 {} if the container has a cgroup namespace,
    else {"unified": the host's mount}, since mounting another from the host's namespace would change its options.

    Runs in the child, in its own mount namespace; with `is_inherited` in that of the caller, where the mounts stay until
    `unmount`. Raises RootError, KernelError, OSError.
    """
    mounts = list(spec.get("mounts") or ())
    settings = spec.get("linux") or {}
    # a mount with shared propagation must be in the host's peer group: cloned before mounts become slaves
    sources = []
    for entry in mounts:
        try:
            sources.append(_source(entry) if _is_bind(entry) and _is_cloned_first(entry) else -1)
        except (KernelError, OSError) as error:
            raise _mount_error(entry, error) from error
    path = os.path.join(bundle, spec["root"]["path"])
    if not is_inherited:
        linux.mount(None, "/", None, linux.MS_SLAVE | linux.MS_REC)
        if mounts and mounts[0]["destination"] == "/" and mounts[0]["type"] == "overlay":
            mount_overlay(path, mounts.pop(0)["options"])
            sources.pop(0)
        else:
            linux.mount(path, path, None, linux.MS_BIND | linux.MS_REC)
    root = Root(path)
    umask = os.umask(0)
    devices = settings.get("devices") or ()
    changes = nodes.change_defaults(devices)
    fitting = {
        tree.point: tree for tree in made if tree.fits(mounts, settings) and not (tree.point == "/dev" and changes)
    }
    covered = [entry for tree in fitting.values() for entry in tree.entries]
    for entry, source in zip(mounts, sources, strict=True):
        try:
            if _is_bind(entry):
                _bind(root, entry, _source_in_turn(root, entry, source))
            elif entry not in covered:
                mount_entry(root, entry, hierarchies)
            elif entry["destination"] in fitting:
                _attach(root, entry, fitting[entry["destination"]].descriptor)
        except (KernelError, OSError) as error:
            raise _mount_error(entry, error) from error
    is_bound = any(_is_bind(one) and one["destination"].rstrip("/") == "/dev" for one in mounts)
    nodes.make_devices(root, devices, has_defaults=not is_bound)
    if "/dev" not in fitting and not is_bound:
        nodes.make_default_devices(root)
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
    root.make_read_only(itself=read_only)
    os.fchdir(root.descriptor)
    os.close(root.descriptor)
    linux.call("pivot_root", b".", b".")
    linux.umount2(".", linux.MNT_DETACH)
    os.chdir("/")


def finish_without_pivot(root: Root, *, read_only: bool) -> None:
    """Make `root` the root by MS_MOVE and chroot(2): pivot_root(2) does not work from an initramfs."""
    root.make_read_only(itself=read_only)
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
    """Return an error that names the mount; the error itself where callers know it."""
    number = error.errno or 0
    if number in EXHAUSTED:
        return error
    reason = os.strerror(number).lower()
    if number == errno.EROFS:
        reason = "the mount point is missing there and can't be made: read-only file system"
    call = f" ({error.syscall}: {errno.errorcode.get(number, number)})" if isinstance(error, KernelError) else ""
    return RootError(f"error mounting {_pair(entry)}: {reason}{call}", hint=getattr(error, "hint", None) or "")


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


def _is_cloned_first(entry: OciMount) -> bool:
    """Whether a bind's source is cloned before anything is mounted."""
    options = MountOptions(entry.get("options") or ())
    return (
        entry.get("mount") is not None
        or bool(entry.get("namespace"))
        or any(change & linux.MS_SHARED for change in options.propagation)
    )


def _source_in_turn(root: Root, entry: OciMount, source: int) -> int:
    """Return the clone for a bind whose turn has come; `source` is the one that was made first, -1 if none was.

    A source in the container's root, such as an earlier mount, is looked up inside it: a link of the image, or of others
    who can write there, does not lead out.
    """
    options = MountOptions(entry.get("options") or ())
    is_elsewhere = entry.get("namespace") or options.maps_ids or entry.get("uidMappings") or entry.get("subpath")
    if is_elsewhere or not root.holds(entry["source"]):
        return _source(entry) if source < 0 else source
    inside = root.open(os.path.normpath(entry["source"]).removeprefix(root.path.rstrip("/")) or "/", os.O_PATH)
    try:
        if source >= 0:
            os.close(source)
        return _source(entry, inside)
    finally:
        os.close(inside)


def _source(entry: OciMount, found: int = -1) -> int:
    """Return a detached clone of the mount at a bind's source, with its flags and propagation set.

    `mount` in an entry (not part of the specification) is the descriptor of an existing clone; `found` that of the
    source if the caller has looked it up.
    """
    options = MountOptions(entry.get("options") or ())
    is_recursive = bool(options.flags & linux.MS_REC)
    if found >= 0:
        source = linux.clone_mount(found, "", recursive=is_recursive)
    elif entry.get("mount") is not None:
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
    if not _is_proc_itself(root, entry, target, source):
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
    """Mount a new filesystem. What follows on its creation is done to its descriptor, before or after it is attached."""
    kind, source = str(entry.get("type")), entry.get("source") or entry.get("type")
    options = MountOptions(entry.get("options") or ())
    is_read_only_later = kind in FILLED_LATER and bool(options.flags & linux.MS_RDONLY)
    if is_read_only_later:
        options.flags &= ~linux.MS_RDONLY
    covered = root.find(entry["destination"]) if kind == "tmpfs" else -1
    target = _target(root, entry)
    if covered >= 0:
        _take_over_owner(options, os.fstat(covered))
        os.close(covered)
    if kind == "overlay":
        mounted = _new_overlay(root, entry, target, options)
    elif is_read_only_later or options.propagation or options.copies_up or options.recursive != (0, 0):
        mounted = _new_mount(source, target, kind, options)
    else:
        mounted = _mount_at_once(source, target, kind, options)
    os.close(target)
    if mounted < 0:
        return
    attributes, clear = options.recursive
    if attributes or clear:
        linux.set_mount(mounted, attributes, clear=clear, recursive=True)
    _spread(mounted, options)
    if is_read_only_later:
        root.make_read_only_later(mounted)
    else:
        os.close(mounted)


def _take_over_owner(options: MountOptions, covered: os.stat_result) -> None:
    """Let a tmpfs without a mode of its own have mode and owner of the directory that it covers."""
    names = {name for name, _ in options.parameters}
    if "mode" not in names:
        options.filesystem_options.append(f"mode={stat.S_IMODE(covered.st_mode):o}")
        is_mapped = userns.is_initial() or userns.OVERFLOW_ID not in (covered.st_uid, covered.st_gid)
        if is_mapped and not names & {"uid", "gid"}:
            options.filesystem_options += [f"uid={covered.st_uid}", f"gid={covered.st_gid}"]


def _new_mount(source: str | None, target: int, kind: str, options: MountOptions) -> int:
    """Attach a new filesystem to `target`; return the descriptor of its mount, -1 if there is nothing to mount."""
    try:
        parameters = [("source", source), *options.superblock_flags, *_parameters(kind, options)]
        mounted = new_filesystem(kind, parameters, options.attributes[0])
    except KernelError as error:
        mounted = _host_own(kind, options, error)
    if mounted < 0:
        return -1
    if options.copies_up:
        _copy_up(target, mounted, options)
    linux.attach_mount(mounted, target)
    return mounted


def _parameters(kind: str, options: MountOptions) -> list[Option]:
    """Return the filesystem's own options, without those that can't be in this user namespace."""
    if kind == "devpts" and userns.has_one_user():  # GID 5 is not mapped there
        return [(key, value) for key, value in options.parameters if key != "gid"]
    return options.parameters


def _copy_up(target: int, mounted: int, options: MountOptions) -> None:
    """Copy what the new mount covers, with the owner and mode of the directory, but for those that the options give."""
    top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mounted)
    given = os.fstat(top)
    names = {name for name, _ in options.parameters}
    copy_tree(f"/proc/self/fd/{target}", top)
    if names & {"uid", "gid"}:
        os.fchown(top, given.st_uid if "uid" in names else -1, given.st_gid if "gid" in names else -1)
    if "mode" in names:
        os.fchmod(top, stat.S_IMODE(given.st_mode))
    os.close(top)


def _new_overlay(root: Root, entry: OciMount, target: int, options: MountOptions) -> int:
    """Attach an overlay to `target`; return the descriptor of its mount."""
    directories = options.filesystem_options
    try:
        mounted = open_overlay(directories)
    except KernelError as error:
        mount_overlay_otherwise(error, f"/proc/self/fd/{target}", directories, options.flags)
        return root.open(entry["destination"], os.O_PATH)
    if options.flags & linux.MS_RDONLY or options.attributes != (0, 0):
        linux.set_mount(mounted, options.attributes[0], clear=options.attributes[1], recursive=False)
    linux.attach_mount(mounted, target)
    return mounted


def _mount_at_once(source: str | None, target: int, kind: str, options: MountOptions) -> int:
    """Mount a filesystem by mount(2). Always returns -1."""
    data = ",".join(key if value is None else f"{key}={value}" for key, value in _parameters(kind, options))
    try:
        linux.mount(source, f"/proc/self/fd/{target}", kind, options.flags, data or None)
    except KernelError as error:
        same = _host_own(kind, options, error)
        if same >= 0:
            linux.attach_mount(same, target)
            os.close(same)
    return -1


def _host_own(kind: str, options: MountOptions, error: KernelError) -> int:
    """Return a clone of the host's mount of a filesystem that shows a namespace, where a new one is not permitted.

    -1 if the host has none. Raises `error` if that is no cure.
    """
    if error.errno != errno.EPERM or kind not in HOST_OWN:
        raise error
    if kind == "proc" and os.readlink("/proc/self") != str(os.getpid()):
        # the PID namespace is new and ours: the reason is "mnt_already_visible", a /proc covered by other mounts
        raise RootError(
            "no /proc can be mounted: parts of this machine's own are covered (is it a container?)"
        ) from error
    if not os.path.exists(HOST_OWN[kind]):
        return -1
    same = linux.clone_mount(linux.AT_FDCWD, HOST_OWN[kind], recursive=True)
    linux.set_mount(same, options.attributes[0], recursive=True)
    return same


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


def _is_proc_itself(root: Root, entry: OciMount, target: int, source: int) -> bool:
    """Whether a bind shows a whole proc filesystem at /proc, as without a PID namespace in a user namespace."""
    if root.place_of(target) != "/proc" or os.path.normpath(entry["destination"]) != "/proc":
        return False
    return linux.filesystem_type(source) == linux.PROC_SUPER_MAGIC and os.fstat(source).st_ino == PROC_ROOT_INODE


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
    if hierarchies.keys() == {"unified"}:
        one: OciMount = {"destination": point, "source": hierarchies["unified"], "options": ["bind", *kept]}
        _bind(root, one, _source(one))
        return
    options = ["nosuid", "noexec", "nodev", "mode=755", *(["ro"] if "ro" in kept else ())]
    _mount(root, {"destination": point, "type": "tmpfs", "source": "tmpfs", "options": options})
    for controller, directory in hierarchies.items():
        if controller == "unified" and "ro" in kept:
            continue  # systemd would take it for its own, and fail; callers show it "systemd" writable (podman)
        one = {"destination": f"{point}/{controller}", "source": directory, "options": ["bind", *kept]}
        _bind(root, one, _source(one))


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
