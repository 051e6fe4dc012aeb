"""The options of `RUN --mount=…`: which there are for which kind, and what they may say.

Source: Dockerfile reference, "RUN --mount".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping

from runtime.build.errors import DockerfileError, suggestion

_COMMON = ("target", "source", "from", "readonly", "readwrite", "id")
KINDS: Mapping[str, tuple[str, ...]] = {
    "bind": _COMMON,
    "cache": (*_COMMON, "sharing", "mode", "uid", "gid"),
    "tmpfs": (*_COMMON, "size"),
    "secret": ("id", "target", "source", "readonly", "readwrite", "env", "required", "mode", "uid", "gid"),
    "ssh": (*_COMMON, "required", "mode", "uid", "gid"),
}
"""The options of each kind, besides its `type`; those that mean nothing to it are taken as BuildKit takes them."""

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_SWITCHES = ("readonly", "readwrite", "required")
_SHARING = ("shared", "private", "locked")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


def _fields(written: str) -> list[str]:
    """Return the fields of a mount flag, in which quotes may hold a comma (RFC 4180)."""
    try:
        return next(csv.reader([written], strict=True), [])
    except csv.Error as error:
        raise DockerfileError(f"--mount={written} can't be read: {error}", hint="write key=value,key=value") from None


def mount_source(written: str) -> str:
    """Return the stage, context or image that `--mount=written` reads from, empty for none.

    Raises DockerfileError (without a line) where that has variables: what a build needs must be known before it begins.
    """
    source = next((field.partition("=")[2] for field in _fields(written) if field.lower().startswith("from=")), "")
    if "$" in source:
        raise DockerfileError(
            f"--mount={written}: from takes no variables",
            hint="name the image with FROM image AS name, and use the name",
        )
    return source


def read_mount(written: str, expand: Callable[[str], str] = str) -> dict[str, str]:
    """Return the options of `--mount=written` under their full names, their values expanded and checked.

    Raises DockerfileError (without a line) for an option that there is not, or not for this kind of mount.
    """
    options: dict[str, str] = {}
    for field in _fields(written):
        name, equals, value = field.strip().partition("=")
        name = name.lower()
        name = _ALIASES.get(name, name)
        if not equals and name not in _SWITCHES:
            raise DockerfileError(f"invalid field {field.strip()!r} in --mount={written}", hint="write key=value")
        options[name] = expand(value) if equals else "true"
    kind = options["type"] = options.get("type", "bind").lower()
    if kind not in KINDS:
        raise DockerfileError(f"unsupported mount type {kind!r}", hint=suggestion(kind, KINDS))
    for name in options:
        if name != "type" and name not in KINDS[kind]:
            known = [*KINDS[kind], *(alias for alias, full in _ALIASES.items() if full in KINDS[kind])]
            raise DockerfileError(
                f"unexpected key {name!r} for mount type {kind!r} in --mount={written}", hint=suggestion(name, known)
            )
    if kind not in ("secret", "ssh"):  # these have places of their own, the others are mounted where the step begins
        options.setdefault("target", ".")
    _check_values(options)
    return options


def _check_values(options: Mapping[str, str]) -> None:
    for name in _SWITCHES:
        switch(options, name)
    for name in ("uid", "gid"):
        if not options.get(name, "0").isdigit():
            raise DockerfileError(f"--mount: {name}={options[name]} is not a number", hint="names are not known here")
    if not re.fullmatch(r"[0-7]+", options.get("mode", "0")):
        raise DockerfileError(
            f"--mount: mode={options['mode']} is not an octal mode", hint="write for example mode=0755"
        )
    if (sharing := options.get("sharing", "shared").lower()) not in _SHARING:
        raise DockerfileError(f"unsupported sharing value {sharing!r}", hint=suggestion(sharing, _SHARING))
    if options["type"] == "secret" and options.get("source") and options.get("id"):
        raise DockerfileError("--mount=type=secret: both source and id can't be set", hint="leave one of them out")
    size_bytes(options.get("size", "0"))


def switch(options: Mapping[str, str], name: str) -> bool:
    """Return whether the boolean option `name` is on. Raises DockerfileError when it is neither true nor false."""
    value = options.get(name, "false").lower()
    if value not in ("true", "false", "t", "f", "1", "0"):
        raise DockerfileError(f"--mount: {name}={options[name]} is neither true nor false")
    return value in ("true", "t", "1")


def size_bytes(written: str) -> int:
    """Return a size as `64m` or `1GB` in bytes. Raises DockerfileError."""
    match = _SIZE.fullmatch(written.strip())
    if match is None:
        raise DockerfileError(f"--mount: invalid size {written!r}", hint="write for example size=64m")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))
