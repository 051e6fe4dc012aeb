"""The builds that clients ask for, by the references that they give them: the request, progress and result of each."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import anyio

from runtime.build.cache import CachedUnder
from runtime.buildkit.progress import Progress
from runtime.buildkit.provenance import Facts
from runtime.buildkit.rpc import NOT_FOUND, RpcError
from runtime.image.images import Image

COMES_WITHIN_S = 10.0
KEPT = 50
"""As many builds that are over are remembered, for `buildx history`."""


class Build:
    """One build: `result` is what its client returned as such, by platform ("" where there is one alone)."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.progress = Progress()
        self.images: dict[str, Image] = {}
        self.results: list[Image] = []
        self.error: RpcError | None = None
        self.response: dict[str, str] = {}
        self.returned = anyio.Event()
        self.attributes: dict[str, str] = dict(request.FrontendAttrs)
        self.created_ns = time.time_ns()
        self.completed_ns = 0
        self.is_pinned = False
        self.steps: list[CachedUnder] = []
        """The steps of all its stages."""
        self.imported: set[object] = set()
        """The caches that its steps have been taken over from."""
        self.facts: Facts | None = None
        """What is known of it once it has made an image."""

    def keep(self, image: Image) -> str:
        """Keep an image that the build made; return the reference by which the client means it."""
        ref = secrets.token_hex(16)
        self.images[ref] = image
        return ref

    def in_order(self, refs: Iterable[str]) -> list[str]:
        """Return references in the order in which their images were made; unknown ones come last."""
        made = list(self.images)
        return sorted(refs, key=lambda ref: made.index(ref) if ref in self.images else len(made))

    def image(self, ref: str) -> Image:
        """Return the image that a reference means. Raises RpcError."""
        if ref not in self.images:
            raise RpcError(NOT_FOUND, f"no such ref: {ref}")
        return self.images[ref]


class Builds:
    """The builds of one engine."""

    def __init__(self) -> None:
        self._builds: dict[str, Build] = {}
        self._changed = anyio.Event()

    def open(self, ref: str, request: Any) -> Build:
        """Begin the build `ref`."""
        build = self._builds[ref] = Build(request)
        self._changed.set()
        self._changed = anyio.Event()
        return build

    def close(self, build: Build) -> None:
        """End a build, which is remembered for a time."""
        build.completed_ns = time.time_ns()
        build.progress.finish()
        build.images.clear()
        for one in self._builds.values():
            if one.completed_ns and one is not build:
                one.progress.forget()
        over = [ref for ref, one in self._builds.items() if one.completed_ns and not one.is_pinned]
        for ref in over[:-KEPT]:
            del self._builds[ref]

    async def get(self, ref: str) -> Build:
        """Return a build, which may be about to begin. Raises RpcError."""
        with anyio.move_on_after(COMES_WITHIN_S):
            while ref not in self._builds:
                await self._changed.wait()
        if ref not in self._builds:
            raise RpcError(NOT_FOUND, f"no such build: {ref}")
        return self._builds[ref]

    def list(self) -> Sequence[tuple[str, Build]]:
        """Return the builds that are remembered, the oldest first."""
        return list(self._builds.items())

    def drop(self, ref: str) -> None:
        """Forget a build that is over."""
        with suppress(KeyError):
            if self._builds[ref].completed_ns:
                del self._builds[ref]
