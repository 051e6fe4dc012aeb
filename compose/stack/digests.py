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
    """Return `model` with the images that services run and mount pinned to what `digest_of` gives for full names."""
    known: dict[str, str] = {}

    def pinned(image: str) -> str:
        full = full_name(image)
        if "@" in full:
            return full
        if full not in known:
            known[full] = f"{full}@{digest_of(full)}"
        return known[full]

    services = {}
    for name, service in model["services"].items():
        if service.get("image"):
            service = {**service, "image": pinned(service["image"])}
        if any(mount.get("type") == "image" for mount in service.get("volumes") or ()):
            mounts = service["volumes"]
            service = {
                **service,
                "volumes": [
                    {**mount, "source": pinned(mount["source"])} if mount.get("type") == "image" else mount
                    for mount in mounts
                ],
            }
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
