"""The cache of a build for other machines: an image in a registry whose configuration names the steps of its layers.

`--cache-from` reads it as it reads images that were built here. Source: Docker documentation, "Cache storage backends".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.build.cache import INLINE, inline_cache
from runtime.buildkit.builds import Build
from runtime.buildkit.rpc import INVALID_ARGUMENT, UNIMPLEMENTED, RpcError
from runtime.buildkit.sessions import Session
from runtime.engine.engine import Engine
from runtime.errors import SkiffError
from runtime.image.images import Image
from runtime.image.manifest import Platform
from runtime.image.reference import Reference


@dataclass(frozen=True)
class CacheExport:
    """Where a cache goes: to `reference`, with the steps of all stages (`is_max`) or those of the result alone."""

    reference: Reference
    is_max: bool = False
    may_fail: bool = False


def cache_exports(asked: Sequence[Any]) -> list[CacheExport]:
    """Return what `--cache-to` asks for. Raises RpcError for what is not served."""
    found = []
    for one in asked:
        attributes: Mapping[str, str] = one.Attrs
        if one.Type == "inline":  # images name their steps in any case
            continue
        if one.Type != "registry":
            raise RpcError(
                UNIMPLEMENTED,
                f"the cache can't be exported as {one.Type!r} by this engine: use --cache-to type=registry,ref=NAME",
            )
        mode = attributes.get("mode", "min")
        if mode not in ("min", "max"):
            raise RpcError(INVALID_ARGUMENT, f"invalid cache mode {mode!r}: it is min or max")
        if not attributes.get("ref"):
            raise RpcError(INVALID_ARGUMENT, "--cache-to type=registry needs a name: ref=REGISTRY/NAME:TAG")
        may_fail = attributes.get("ignore-error") == "true"
        found.append(CacheExport(Reference.parse(attributes["ref"]), mode == "max", may_fail))
    return found


async def export_cache(
    engine: Engine, build: Build, session: Session | None, images: Sequence[Image], cache: CacheExport
) -> None:
    """Push the steps of `build`, which made `images`. Raises SkiffError."""
    with build.progress.vertex(f"exporting cache to registry {cache.reference}"):
        try:
            auth = None if session is None else await session.credentials(cache.reference.domain)
            pushed = [await _all_steps(engine, build)] if cache.is_max else images
            await engine.image_api.push_index(cache.reference, pushed, lambda _, __: (), auth=auth)
        except SkiffError:
            if not cache.may_fail:
                raise


async def _all_steps(engine: Engine, build: Build) -> Image:
    """Return an image that nobody runs: its layers are those of all steps, and its configuration says which is which."""
    layers = dict.fromkeys(one.step.diff_id for one in build.steps if one.step.diff_id is not None)
    own = Platform.host()
    document = {
        "architecture": own.architecture,
        "os": own.os,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
        INLINE: inline_cache(build.steps),
    }
    return await engine.images.register(document)
