"""`prune`: removes from the engine what nothing uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compose.stack.context import Question, UnansweredError
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.stack.context import Context

WHAT = {
    "containers": "all stopped containers",
    "networks": "all networks not used by at least one container",
    "volumes": "all anonymous volumes not used by at least one container",
    "images": "all dangling images",
    "build": "all build cache that no build uses now",
}
"""What is removed of each kind, in the order in which it is: a container that goes frees what it uses."""
WHAT_ALL = {
    "volumes": "all volumes not used by at least one container",
    "images": "all images without at least one container",
}
REMOVED = {
    "containers": "ContainersDeleted",
    "networks": "NetworksDeleted",
    "volumes": "VolumesDeleted",
    "images": "ImagesDeleted",
    "build": "CachesDeleted",
}


@dataclass(frozen=True)
class PruneRequest:
    """Which kinds to prune, keys of `WHAT`.

    `everything` names the kinds of which also goes what has a name. `filters` are KEY=VALUE. Of the build cache so many
    bytes are kept as `keep_bytes` says, of what was used last. `assume_yes` asks no question.
    """

    kinds: Sequence[str]
    everything: frozenset[str] = frozenset()
    filters: Sequence[str] = ()
    keep_bytes: int = 0
    assume_yes: bool = False


@dataclass
class Pruned:
    """What was removed, each with its kind, and the bytes that were freed."""

    removed: list[tuple[str, str]] = field(default_factory=list)
    freed_bytes: int = 0


def prune(context: Context, request: PruneRequest) -> Pruned | None:
    """Remove what is not used, once that is confirmed; None where it is not. Raises SkiffError."""
    filters = parse_filters(request.filters)
    kinds = [kind for kind in WHAT if kind in request.kinds]
    listed = "\n".join(
        f"  - {(WHAT_ALL if kind in request.everything else WHAT).get(kind, WHAT[kind])}" for kind in kinds
    )
    question = Question("Are you sure you want to continue?", f"WARNING! This will remove:\n{listed}\n")
    if not request.assume_yes and not _is_confirmed(context, question):
        return None
    pruned = Pruned()
    for kind in kinds:
        own: dict[str, Sequence[str]] = dict(filters)
        query: dict[str, Any] = {}
        if kind in request.everything:
            own |= {"volumes": {"all": ["true"]}, "images": {"dangling": ["false"]}}.get(kind, {})
        if kind == "build":
            own.pop("label", None)
            query = {"keep-storage": request.keep_bytes} if request.keep_bytes else {}
        done = context.client.prune(kind, own, **query)
        pruned.removed += [(kind, name) for name in _names(done.get(REMOVED[kind]) or ())]
        pruned.freed_bytes += int(done.get("SpaceReclaimed") or 0)
    return pruned


def parse_filters(filters: Sequence[str]) -> dict[str, list[str]]:
    """Return filters as the engine takes them. Raises SkiffError for what is not KEY=VALUE."""
    found: dict[str, list[str]] = {}
    for written in filters:
        key, equals, value = written.partition("=")
        if not equals:
            raise SkiffError(f"invalid filter {written!r}", "write KEY=VALUE, as in label=NAME or until=24h")
        found.setdefault(key, []).append(value)
    return found


def _names(removed: Sequence[str | Mapping[str, str]]) -> list[str]:
    return [
        one if isinstance(one, str) else ", ".join(f"{what.lower()}: {name}" for what, name in one.items())
        for one in removed
    ]


def _is_confirmed(context: Context, question: Question) -> bool:
    try:
        return context.ask(question)
    except UnansweredError:
        raise SkiffError("nobody is there to confirm the removal", "say --force") from None
