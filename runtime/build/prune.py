"""Removing what builds left: steps and cache mounts, the one that was not used for longest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runtime.build.cache import BuildCache
from runtime.build.cache_mounts import CacheMounts
from runtime.image.images import Images


async def prune(
    cache: BuildCache,
    mounts: CacheMounts,
    images: Images,
    *,
    before: str | None = None,
    keep_bytes: int = 0,
    report: Callable[[str], None] | None = None,
) -> tuple[list[str], int]:
    """Remove cached steps and cache mounts; return the steps' keys and the mounts' IDs, and the bytes that frees.

    `before` (RFC 3339) spares what was used since then. With `keep_bytes` so much is kept of what was used last, and no step
    whose layer an image has: that frees nothing. What is in use stays. `report` takes the key or ID of each once it is gone.
    """
    in_images = {diff_id for image in images.list() for diff_id in image.diff_ids}
    unused = [one for one in await mounts.kept() if not one.is_in_use]
    groups = [_Group(one.last_used, (one.id,), one.size_bytes, is_mount=True) for one in unused]
    by_layer: dict[str, list[str]] = {}
    for key, step in cache.steps():
        by_layer.setdefault(str(step.get("layer") or ""), []).append(key)
    for layer, keys in by_layer.items():
        size = images.layers.size(layer) if layer and layer not in in_images else 0
        groups.append(_Group(max(map(cache.last_used, keys)), tuple(keys), size, is_mount=False))
    left = sum(group.size_bytes for group in groups)
    removed: list[str] = []
    freed = 0
    for group in sorted(groups):
        if before is not None and group.last_used >= before:
            continue
        if keep_bytes and left <= keep_bytes:
            break
        if keep_bytes and not group.size_bytes:
            continue
        left -= group.size_bytes
        removed += group.ids
        for id in group.ids:
            if group.is_mount:
                await mounts.remove(id)
                freed += group.size_bytes
            else:
                cache.forget(id)
            if report is not None:
                report(id)
    return removed, freed + images.collect_garbage()


@dataclass(frozen=True, order=True)
class _Group:
    """What goes together: the steps that made one layer, or a cache mount; `size_bytes` is what that frees."""

    last_used: str
    ids: tuple[str, ...]
    size_bytes: int
    is_mount: bool
