"""The cache of a build for other machines: images whose configurations name the steps of their layers.

It goes to a registry or to a directory of the client's. `--cache-from` reads it as it reads images that were built here.
Source: Docker documentation, "Cache storage backends".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from runtime.build.cache import INLINE, inline_cache
from runtime.buildkit.builds import Build
from runtime.buildkit.rpc import INVALID_ARGUMENT, UNIMPLEMENTED, UNKNOWN, RpcError
from runtime.buildkit.sessions import Session
from runtime.engine.engine import Engine
from runtime.errors import NotFoundError, SkiffError
from runtime.image.images import Image
from runtime.image.index import platform_document
from runtime.image.manifest import Platform
from runtime.image.reference import DEFAULT_DOMAIN, Reference
from runtime.image.transfers import load_registry_client

EXPORTED = "cache.manifest"
"""The member of the exporters' response by which the client writes the index.json of its directory."""


@dataclass(frozen=True)
class CacheExport:
    """Where a cache goes: to `reference` or the client's `directory`.

    It has the steps of all stages (`is_max`) or those of the result alone.
    """

    reference: Reference | None = None
    directory: str = ""
    is_max: bool = False
    may_fail: bool = False


def cache_exports(asked: Sequence[Any]) -> list[CacheExport]:
    """Return what `--cache-to` asks for. Raises RpcError for what is not served."""
    found = []
    for one in asked:
        attributes: Mapping[str, str] = one.Attrs
        if one.Type == "inline":  # images name their steps in any case
            continue
        if one.Type not in ("registry", "local"):
            raise RpcError(
                UNIMPLEMENTED,
                f"the cache can't be exported as {one.Type!r} by this engine: "
                "use --cache-to type=registry,ref=NAME or type=local,dest=DIRECTORY",
            )
        mode = attributes.get("mode", "min")
        if mode not in ("min", "max"):
            raise RpcError(INVALID_ARGUMENT, f"invalid cache mode {mode!r}: it is min or max")
        name = "ref" if one.Type == "registry" else "dest"
        if not (value := attributes.get(name)):
            example = "ref=REGISTRY/NAME:TAG" if one.Type == "registry" else "dest=DIRECTORY"
            raise RpcError(INVALID_ARGUMENT, f"--cache-to type={one.Type} needs a place: {example}")
        may_fail = attributes.get("ignore-error") == "true"
        if one.Type == "registry":
            found.append(CacheExport(Reference.parse(value), is_max=mode == "max", may_fail=may_fail))
        else:
            found.append(CacheExport(directory=value, is_max=mode == "max", may_fail=may_fail))
    return found


async def export_cache(
    engine: Engine, build: Build, session: Session | None, images: Sequence[Image], cache: CacheExport
) -> None:
    """Write the steps of `build`, which made `images`. Raises SkiffError."""
    where = f"registry {cache.reference}" if cache.reference is not None else f"client directory {cache.directory}"
    with build.progress.vertex(f"exporting cache to {where}"):
        made: list[Image] = []
        try:
            if cache.is_max:
                made = [await _all_steps(engine, build, Platform.of(image.config)) for image in images]
            await _write(engine, build, session, made or images, cache)
        except SkiffError:
            if not cache.may_fail:
                raise
        finally:
            for image in made:  # the steps stay in the cache; another export may have removed it
                with suppress(NotFoundError):
                    engine.images.remove(image.id, force=False, in_use=lambda _: None)


async def _write(
    engine: Engine, build: Build, session: Session | None, images: Sequence[Image], cache: CacheExport
) -> None:
    if cache.reference is None:
        build.response[EXPORTED] = await _to_client(engine, session, cache.directory, images)
        return
    auth = None if session is None else await session.credentials(cache.reference.domain)
    await engine.image_api.push_index(cache.reference, images, lambda _, __: (), auth=auth)


async def _to_client(engine: Engine, session: Session | None, directory: str, images: Sequence[Image]) -> str:
    """Write `images` to the client's directory; return the descriptor of their index as JSON."""
    if session is None:
        raise RpcError(UNKNOWN, f"no client is connected that could take the cache for {directory}")
    await load_registry_client()
    from runtime.buildkit.client_content import ClientContent
    from runtime.image.push import write_index

    content = ClientContent(session, f"local:{directory}")
    name = Reference(DEFAULT_DOMAIN, "cache", "latest")
    index = await write_index(engine.images, content, name, images, lambda _, __: (), progress=lambda _: None)
    return json.dumps(index.document())


async def _all_steps(engine: Engine, build: Build, platform: Platform) -> Image:
    """Return an image that nobody runs: its layers are those of all steps, and its configuration says which is which."""
    layers = dict.fromkeys(one.step.diff_id for one in build.steps if one.step.diff_id is not None)
    document = {
        **platform_document(platform),
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
        INLINE: inline_cache(build.steps),
    }
    return await engine.images.register(document)
