"""Mounts of the next container's root that a preforked child makes in advance.

Each is a detached tree (open_tree(2), OPEN_TREE_CLONE), complete with all mounts on it. `rootfs.prepare` attaches it if
the container's document asks for exactly the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from runtime.hints import TYPE_CHECKING
from runtime.linux import syscalls as linux
from runtime.oci import nodes, rootfs
from runtime.oci.premade_mount import PremadeMount
from runtime.oci.root import Root

if TYPE_CHECKING:
    from runtime.oci.types import OciPreforkTemplate

POINTS = ("/proc", "/dev", "/sys/fs/cgroup")


def make_trees(template: OciPreforkTemplate, place: str, hierarchies: Mapping[str, str] | None) -> list[PremadeMount]:
    """Return the trees for `template`: {"mounts", "maskedPaths", "readonlyPaths"} of an OCI document.

    The caller must be in the container's namespaces, which /proc and others show. `place` is a directory to mount on;
    `hierarchies` as in `rootfs.prepare`. Raises KernelError, OSError, RootError. In any case the caller is in its own
    mount namespace afterwards.
    """
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    linux.call("unshare", linux.CLONE_NEWNS)
    try:
        linux.mount(None, "/", None, linux.MS_PRIVATE | linux.MS_REC)
        linux.mount("tmpfs", place, "tmpfs", 0, "mode=755")
        root = Root(place)
        umask = os.umask(0)
        trees = [tree for tree in (PremadeMount(point, template) for point in POINTS) if tree.entries]
        for tree in trees:
            for entry in tree.entries:
                rootfs.mount_entry(root, entry, hierarchies)
            if tree.point == "/dev":
                nodes.make_default_devices(root)
            root.make_read_only()
            rootfs.hide(root, tree.hidden)
            rootfs.protect(root, tree.protected)
            mounted = root.open(tree.point, os.O_PATH)
            tree.descriptor = linux.clone_mount(mounted, "", recursive=True)
            os.close(mounted)
        os.umask(umask)
        os.close(root.descriptor)
        return trees
    finally:
        linux.call("setns", own, linux.CLONE_NEWNS)
        os.close(own)
