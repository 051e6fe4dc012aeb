"""Provenance attestations: how a build made an image, as an in-toto statement with a SLSA predicate.

Source: Docker documentation, "Provenance attestations" and "SLSA definitions"; SLSA provenance 0.2 and 1.
"""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from runtime.errors import BadRequestError
from runtime.image.index import Statement
from runtime.image.manifest import Platform
from runtime.image.reference import Reference

ATTRIBUTE = "attest:provenance"
BUILD_TYPE = "https://mobyproject.org/buildkit@v1"
BUILD_TYPE_1 = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
METADATA = "https://mobyproject.org/buildkit@v1#metadata"
PREDICATES = {"v0.2": "https://slsa.dev/provenance/v0.2", "v1": "https://slsa.dev/provenance/v1"}
_SECRETIVE = ("build-arg:", "label:")
"""Parameters that only `mode=max` shows."""


@dataclass(frozen=True)
class Wanted:
    """What `--provenance` asks for."""

    is_max: bool = False
    version: str = "v0.2"
    builder_id: str = ""

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> Wanted | None:
        """Return what a build's attributes ask for; None where that is nothing.

        What clients ask for by default (`inline-only`) is nothing: an image stays one that everything reads. Raises
        BadRequestError.
        """
        written = attributes.get(ATTRIBUTE)
        if written is None:
            return None
        options = dict(part.partition("=")[::2] for part in next(csv.reader([written]), []))
        if options.get("disabled") == "true" or options.get("inline-only") == "true":
            return None
        mode, version = options.get("mode", "min"), options.get("version", "v0.2")
        if mode not in ("min", "max"):
            raise BadRequestError(f"invalid provenance mode {mode!r}", "it is min or max")
        if version not in PREDICATES:
            raise BadRequestError(f"invalid provenance version {version!r}", "it is v0.2 or v1")
        return cls(mode == "max", version, options.get("builder-id", ""))


@dataclass(frozen=True)
class Material:
    """An image that a build was made from: its name, and the hex SHA-256 of its manifest."""

    name: str
    digest: str

    def document(self, platform: Platform) -> dict[str, Any]:
        """Return it as a material or dependency: a package URL with its digest."""
        return {"uri": package_url(self.name, platform), "digest": {"sha256": self.digest}}


@dataclass(frozen=True)
class Facts:
    """What is known of a build. Times are nanoseconds since 1970; `steps` are the instructions in order."""

    ref: str
    attributes: Mapping[str, str]
    dockerfile: str
    text: bytes
    started_ns: int
    finished_ns: int
    materials: Sequence[Material]
    steps: Sequence[str]


def package_url(name: str, platform: Platform) -> str:
    """Return an image's name as a package URL."""
    reference = Reference.parse(name)
    suffix = f"@{reference.tag}" if reference.digest is None else f"@{reference.digest}"
    return f"pkg:docker/{reference.name}{suffix}?platform={quote(str(platform), safe='')}"


def statement(wanted: Wanted, facts: Facts, names: Sequence[str], platform: Platform, digest: str) -> Statement:
    """Return the statement about the image for `platform` whose manifest has `digest`; `names` are the image's."""
    subjects = [package_url(name, platform) for name in names] or ["_"]
    predicate = _version_1(wanted, facts, platform) if wanted.version == "v1" else _version_0_2(wanted, facts, platform)
    document = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": PREDICATES[wanted.version],
        "subject": [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}} for name in subjects],
        "predicate": predicate,
    }
    return Statement(json.dumps(document, indent=2).encode(), PREDICATES[wanted.version])


def _parameters(wanted: Wanted, facts: Facts) -> dict[str, Any]:
    kept = {
        name: value
        for name, value in sorted(facts.attributes.items())
        if not name.startswith("attest:") and (wanted.is_max or not name.startswith(_SECRETIVE))
    }
    return {"frontend": "dockerfile.v0", "args": kept, "locals": [{"name": "context"}, {"name": "dockerfile"}]}


def _details(wanted: Wanted, facts: Facts) -> dict[str, Any]:
    """Return what `mode=max` adds: the Dockerfile itself."""
    if not wanted.is_max:
        return {}
    info = {
        "filename": facts.dockerfile,
        "language": "Dockerfile",
        "data": base64.b64encode(facts.text).decode(),
    }
    return {"source": {"infos": [info]}, "steps": list(facts.steps)}


def _version_0_2(wanted: Wanted, facts: Facts, platform: Platform) -> dict[str, Any]:
    predicate: dict[str, Any] = {
        "builder": {"id": wanted.builder_id},
        "buildType": BUILD_TYPE,
        "materials": [material.document(platform) for material in facts.materials],
        "invocation": {
            "configSource": {"entryPoint": facts.dockerfile},
            "parameters": _parameters(wanted, facts),
            "environment": {"platform": str(Platform.host())},
        },
        "metadata": {
            "buildInvocationID": facts.ref,
            "buildStartedOn": _moment(facts.started_ns),
            "buildFinishedOn": _moment(facts.finished_ns),
            "completeness": {"parameters": wanted.is_max, "environment": True, "materials": False},
            "reproducible": False,
            METADATA: _details(wanted, facts),
        },
    }
    return predicate


def _version_1(wanted: Wanted, facts: Facts, platform: Platform) -> dict[str, Any]:
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE_1,
            "externalParameters": {"configSource": {"path": facts.dockerfile}, "request": _parameters(wanted, facts)},
            "internalParameters": {"builderPlatform": str(Platform.host())},
            "resolvedDependencies": [material.document(platform) for material in facts.materials],
        },
        "runDetails": {
            "builder": {"id": wanted.builder_id},
            "metadata": {
                "invocationId": facts.ref,
                "startedOn": _moment(facts.started_ns),
                "finishedOn": _moment(facts.finished_ns),
                "buildkit_metadata": _details(wanted, facts),
                "buildkit_completeness": {"request": wanted.is_max, "resolvedDependencies": False},
                "buildkit_reproducible": False,
            },
        },
    }


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).isoformat().replace("+00:00", "Z")
