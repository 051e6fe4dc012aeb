"""What a build takes from its client's content stores before it begins: cached steps, and images of OCI layouts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from runtime.build.contexts import ID_SCHEME, LAYOUT_SCHEME
from runtime.build.options import BuildOptions
from runtime.buildkit.builds import Build
from runtime.buildkit.rpc import INVALID_ARGUMENT, UNKNOWN, RpcError
from runtime.buildkit.sessions import Session
from runtime.engine.engine import Engine
from runtime.errors import SkiffError
from runtime.image.images import Image
from runtime.image.machine import best
from runtime.image.manifest import Platform
from runtime.image.reference import DEFAULT_DOMAIN, Reference, check_digest
from runtime.image.transfers import load_registry_client


@dataclass(frozen=True)
class LocalCache:
    """A cache in the directory `source` of the client, whose index has `digest` ("" where the client found none)."""

    source: str
    digest: str


def local_caches(imports: Sequence[Any]) -> tuple[LocalCache, ...]:
    """Return the directories of the client that the build may take steps from, of those caches that it names."""
    found = (LocalCache(one.Attrs["src"], one.Attrs["digest"]) for one in imports if one.Type == "local")
    return tuple(dict.fromkeys(found))


async def import_caches(
    engine: Engine, build: Build, session: Session, options: BuildOptions, caches: Sequence[LocalCache]
) -> None:
    """Take over the steps of `caches`. One that can't be read is shown as failed, and the build goes on without."""
    for cache in caches:
        with suppress(SkiffError), build.progress.vertex(f"importing cache manifest from local:{cache.source}"):
            if not cache.digest:
                raise RpcError(UNKNOWN, f"{cache.source} has no cache: nothing in its index.json has the tag")
            await _import_cache(engine, session, options, cache)


async def _import_cache(engine: Engine, session: Session, options: BuildOptions, cache: LocalCache) -> None:
    await load_registry_client()
    from runtime.buildkit.client_content import ClientContent
    from runtime.image.pull import fetch

    content = ClientContent(session, f"local:{cache.source}")
    async with engine.images.garbage.held_off():
        found = await fetch(engine.images, content, _by_digest(cache.digest), _platform(options), lambda _: None)
        engine.builder.cache.learn(found.config)


async def with_layouts(engine: Engine, build: Build, session: Session, options: BuildOptions) -> BuildOptions:
    """Return `options` with images of the store instead of OCI layouts of the client. Raises SkiffError."""
    contexts: dict[str, str] = {}
    for name, value in options.contexts.items():
        if value.startswith(LAYOUT_SCHEME):
            with build.progress.vertex(f"[context {name}] load from OCI layout"):
                image = await _layout_image(engine, session, options, name, value.removeprefix(LAYOUT_SCHEME))
            contexts[name] = ID_SCHEME + image.id
    return replace(options, contexts={**options.contexts, **contexts}) if contexts else options


async def _layout_image(engine: Engine, session: Session, options: BuildOptions, name: str, place: str) -> Image:
    """Make an image of the layout at `place`, "STORE[:TAG]@DIGEST" as clients write it."""
    store, at, digest = place.partition("@")
    if not at:
        raise RpcError(INVALID_ARGUMENT, f"the build context {name!r} needs a digest: oci-layout://NAME@sha256:…")
    await load_registry_client()
    from runtime.buildkit.client_content import ClientContent
    from runtime.image.pull import fetch

    content = ClientContent(session, f"oci:{store.partition(':')[0]}")
    async with engine.images.garbage.held_off():
        found = await fetch(engine.images, content, _by_digest(digest), _platform(options), lambda _: None)
        engine.images.content.put(found.available.chosen.raw)
        return await engine.images.adopt_config(found.raw_config, found.available.chosen.digest)


def _by_digest(digest: str) -> Reference:
    check_digest(digest, digest)
    # stores know no names: this one is for messages
    return Reference(DEFAULT_DOMAIN, "oci-layout", None, digest)


def _platform(options: BuildOptions) -> Platform:
    return Platform.parse(options.platform) if options.platform else best()
