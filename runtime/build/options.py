"""What a build is asked to do, and how the Docker Engine API says it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.errors import BadRequestError


@dataclass(frozen=True)
class BuildOptions:
    """Options of one build.

    `dockerfile` is a path in the context; `dockerfile_text` stands for the file itself where the client sends it
    apart. `build_args` maps to None for "take no value". `shm_size_bytes` 0 is the default of a container, `memory_bytes`
    0 no limit of a step. `secrets`
    are contents by ID, `ssh` paths of agents' sockets by ID, `contexts` what `--from` may name besides stages and images.
    `secret_members` are the members of the stream that hold secrets, by ID; `own` is a folder of the stream that holds what
    is no part of the context, "" for none. `certificates` are CA certificates for the steps (PEM), `certificates_member` is
    where the stream has them. `credentials` are those of registries, by
    their domain, each as an X-Registry-Auth document has them. With `is_classic` progress is reported as dockerd's classic
    builder does, whose containers of steps end when `removes`, and where one fails, when `removes_failed`.
    """

    dockerfile: str = "Dockerfile"
    dockerfile_text: str | None = None
    tags: tuple[str, ...] = ()
    build_args: Mapping[str, str | None] = field(default_factory=dict)
    target: str | None = None
    no_cache: bool = False
    no_cache_filter: frozenset[str] = frozenset()
    check: bool = False
    pull: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    network_mode: str = "default"
    extra_hosts: tuple[str, ...] = ()
    shm_size_bytes: int = 0
    memory_bytes: int = 0
    ulimits: tuple[Mapping[str, Any], ...] = ()
    platform: str | None = None
    cache_from: tuple[str, ...] = ()
    quiet: bool = False
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    secret_members: Mapping[str, str] = field(default_factory=dict)
    own: str = ""
    certificates: bytes = field(default=b"", repr=False)
    certificates_member: str = ""
    ssh: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    entitlements: frozenset[str] = frozenset()
    credentials: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    is_classic: bool = False
    removes: bool = True
    removes_failed: bool = False


CLIENT_SESSION = "client-session"
"""What `remote` is where the client serves its context itself."""
ENTITLEMENTS = ("network.host", "security.insecure")
"""What a build may be allowed besides: `RUN --network=host` and `RUN --security=insecure`."""


def options_from_query(query: Mapping[str, Sequence[str]]) -> BuildOptions:
    """Return the options that the query of `POST /build` asks for (Docker Engine API, "Build an image").

    `query` maps each parameter to its values, as `urllib.parse.parse_qs` does. Parameters of processors (`cpu…`) have nothing
    to act on and are accepted; those about intermediate containers (`rm`, `forcerm`) decide what is said of them. Beyond
    Docker's,
    which the classic protocol has no words for: `secrets` (members of the stream by ID), `own` (the folder
    of what is no part of the context), `certificates` (the member with CA certificates for the steps), `ssh` (sockets of
    agents by ID), `contexts` (named contexts), `entitlements`, `nocachefilter` (stages), `check`
    (find what a build would warn of, and build nothing) and `plain` (our own progress, with durations and warnings).

    Raises BadRequestError for a value that cannot be read and for what is not supported.
    """
    if _first(query, "remote") not in ("", CLIENT_SESSION):
        raise BadRequestError(
            "building from a remote context is not supported", "clone or download it, and build the directory"
        )
    if _flag(query, "squash"):
        raise BadRequestError("squash is not supported", "use a multi-stage build to keep the image small")
    return BuildOptions(
        dockerfile=_first(query, "dockerfile") or "Dockerfile",
        tags=tuple(tag for tag in query.get("t", ()) if tag),
        build_args=_string_map(query, "buildargs", allow_null=True),
        target=_first(query, "target") or None,
        no_cache=_flag(query, "nocache"),
        check=_flag(query, "check"),
        no_cache_filter=frozenset(_json(query, "nocachefilter", list) or ()),
        pull=_flag(query, "pull"),
        labels={name: value or "" for name, value in _string_map(query, "labels", allow_null=False).items()},
        network_mode=_first(query, "networkmode") or "default",
        extra_hosts=_extra_hosts(query.get("extrahosts", ())),
        shm_size_bytes=_whole_number(query, "shmsize"),
        memory_bytes=_whole_number(query, "memory"),
        ulimits=tuple(_json(query, "ulimits", list) or ()),
        platform=_first(query, "platform") or None,
        cache_from=tuple(_json(query, "cachefrom", list) or ()),
        quiet=_flag(query, "q"),
        secret_members=_texts(query, "secrets"),
        own=_first(query, "own"),
        certificates_member=_first(query, "certificates"),
        ssh=_texts(query, "ssh"),
        contexts=_texts(query, "contexts"),
        entitlements=_entitlements(query.get("entitlements", ())),
        is_classic=not _flag(query, "plain"),
        removes=not _first(query, "rm") or _flag(query, "rm"),
        removes_failed=_flag(query, "forcerm"),
    )


def _texts(query: Mapping[str, Sequence[str]], name: str) -> dict[str, str]:
    return {key: value or "" for key, value in _string_map(query, name, allow_null=False).items()}


def _entitlements(values: Sequence[str]) -> frozenset[str]:
    for value in values:
        if value not in ENTITLEMENTS:
            raise BadRequestError(f"unknown entitlement {value!r}", f"there are {' and '.join(ENTITLEMENTS)}")
    return frozenset(values)


def _first(query: Mapping[str, Sequence[str]], name: str) -> str:
    values = query.get(name)
    return values[0] if values else ""


def _flag(query: Mapping[str, Sequence[str]], name: str) -> bool:
    # as Docker reads booleans of a query
    return _first(query, name).strip().lower() not in ("", "0", "no", "false", "none")


def _whole_number(query: Mapping[str, Sequence[str]], name: str) -> int:
    written = _first(query, name) or "0"
    try:
        return max(int(written), 0)
    except ValueError:
        raise BadRequestError(f"invalid {name}: {written!r} is not a whole number") from None


def _json(query: Mapping[str, Sequence[str]], name: str, kind: type) -> Any:
    written = _first(query, name)
    if not written:
        return None
    try:
        value = json.loads(written)
    except ValueError as error:
        raise BadRequestError(f"invalid {name}: {error}") from None
    if value is not None and not isinstance(value, kind):
        raise BadRequestError(f"invalid {name}: expected a JSON {'object' if kind is dict else 'array'}")
    return value


def _string_map(query: Mapping[str, Sequence[str]], name: str, *, allow_null: bool) -> dict[str, str | None]:
    value = _json(query, name, dict) or {}
    for key, item in value.items():
        if not isinstance(item, str) and not (allow_null and item is None):
            raise BadRequestError(f"invalid {name}: the value of {key!r} is not a string")
    return dict(value)


def _extra_hosts(values: Sequence[str]) -> tuple[str, ...]:
    # one parameter a host, or one that holds them all separated by commas
    return tuple(host for value in values for host in value.split(",") if host)
