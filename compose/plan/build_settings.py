"""A service's `build`, typed. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from compose.plan.parts import FileUse, Section, Ulimit, extra_hosts, ulimits
from compose.plan.values import whole

INSECURE = "security.insecure"


class BuildSettings(NamedTuple):
    """How a service's image is built."""

    context: str
    dockerfile: str
    dockerfile_inline: str | None
    arguments: Mapping[str, str | None]
    labels: Mapping[str, str]
    tags: Sequence[str]
    target: str
    network: str
    platforms: Sequence[str]
    contexts: Mapping[str, str]
    secrets: Sequence[FileUse]
    ssh: Mapping[str, str]
    cache_from: Sequence[str]
    cache_to: Sequence[str]
    no_cache: bool
    no_cache_filter: Sequence[str]
    pull: bool
    is_privileged: bool
    entitlements: Sequence[str]
    isolation: str
    provenance: Any
    sbom: Any
    shm_size_bytes: int
    ulimits: Sequence[Ulimit]
    extra_hosts: Sequence[str]

    @classmethod
    def of(cls, document: Section) -> BuildSettings:
        """Return the typed form."""
        return cls(
            str(document.get("context") or ""),
            document.get("dockerfile") or "",
            document.get("dockerfile_inline"),
            document.get("args") or {},
            document.get("labels") or {},
            document.get("tags") or (),
            document.get("target") or "",
            document.get("network") or "",
            document.get("platforms") or (),
            {name: str(value) for name, value in (document.get("additional_contexts") or {}).items()},
            [FileUse.of(each) for each in document.get("secrets") or ()],
            agent_sockets(document.get("ssh")),
            [str(each) for each in document.get("cache_from") or ()],
            [str(each) for each in document.get("cache_to") or ()],
            bool(document.get("no_cache")),
            document.get("no_cache_filter") or (),
            bool(document.get("pull")),
            bool(document.get("privileged")),
            document.get("entitlements") or (),
            document.get("isolation") or "",
            document.get("provenance"),
            document.get("sbom"),
            whole(document.get("shm_size")),
            ulimits(document.get("ulimits")),
            extra_hosts(document.get("extra_hosts")),
        )

    def allowed_entitlements(self) -> list[str]:
        """Return the entitlements of steps, among them that which `privileged` means."""
        found = list(self.entitlements)
        return [*found, INSECURE] if self.is_privileged and INSECURE not in found else found


def agent_sockets(given: Any) -> dict[str, str]:
    """Return sockets or keys of SSH agents by their names, "" where the user's own agent is meant.

    `given` is a mapping, or entries in a flag's form, `ID=PATH`, or in that of an encoded model, `ID: PATH`.
    """
    if isinstance(given, Mapping):
        return {str(name): str(path or "") for name, path in given.items()}
    entries = (re.split(r": |=", str(one), maxsplit=1) for one in given or ())
    return {name: "".join(path) for name, *path in entries}
