"""The digests that image names currently refer to: from the registry through the engine, or from the engine's images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runtime.errors import EngineError, SkiffError

if TYPE_CHECKING:
    from runtime.client import Client

DOMAIN, LIBRARY = "docker.io", "library"


def full_name(image: str) -> str:
    """Return an image's name with registry and tag: `nginx` is `docker.io/library/nginx:latest`.

    Of a name with tag and digest the digest stays (Docker's "familiar names").
    """
    name, at, digest = image.partition("@")
    head, slash, rest = name.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost"):
        head, rest = DOMAIN, name
    if head == "index.docker.io":
        head = DOMAIN
    if head == DOMAIN and "/" not in rest:
        rest = f"{LIBRARY}/{rest}"
    path, colon, tag = rest.partition(":")
    return f"{head}/{path}@{digest}" if at else f"{head}/{path}:{tag if colon else 'latest'}"


def resolved(model: Mapping[str, Any], digest_of: Callable[[str], str]) -> dict[str, Any]:
    """Return `model` with the image of every service pinned to the digest that `digest_of` gives for its full name."""
    known: dict[str, str] = {}
    services = {}
    for name, service in model["services"].items():
        image = service.get("image")
        if image:
            full = full_name(image)
            if "@" not in full:
                if full not in known:
                    known[full] = f"{full}@{digest_of(full)}"
                full = known[full]
            service = {**service, "image": full}
        services[name] = service
    return {**model, "services": services}


def locked(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return an override file that only pins images: merged last, it fixes what the files run."""
    kept = {}
    for name, service in model["services"].items():
        kept[name] = {"command": None, "entrypoint": None}
        if service.get("image"):
            kept[name]["image"] = service["image"]
    return {"services": kept}


def digest(client: Client, name: str) -> str:
    """Return the digest of a full image name: the registry's, or, where none answers, that of the engine's own image.

    Raises SkiffError where neither knows it.
    """
    try:
        answer = client.json("GET", f"/distribution/{quote(name, safe='/:')}/json")
        found = ((answer or {}).get("Descriptor") or {}).get("digest")
        if found:
            return str(found)
        refusal = "the registry gave no digest"
    except EngineError as error:
        refusal = error.message
    repository = name.rpartition(":")[0]
    try:
        for each in client.image(name).get("RepoDigests") or ():
            path, _, found = each.partition("@")
            if found and full_name(path).rpartition(":")[0] == repository:
                return str(found)
    except EngineError:
        pass
    raise SkiffError(
        f"can't resolve the digest of {name}: {refusal}", "is the name right? an image that was pulled has one too"
    )
