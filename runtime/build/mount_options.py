"""The options of `RUN --mount=…`: which there are for which kind, and what they may say.

Source: Dockerfile reference, "RUN --mount".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from runtime.build.errors import DockerfileError, suggestion

KINDS: Mapping[str, tuple[str, ...]] = {
    "bind": ("target", "source", "from", "readonly", "readwrite"),
    "cache": ("id", "target", "source", "from", "readonly", "readwrite", "sharing", "mode", "uid", "gid"),
    "tmpfs": ("target", "size"),
    "secret": ("id", "target", "source", "env", "required", "mode", "uid", "gid"),
    "ssh": ("id", "target", "required", "mode", "uid", "gid"),
}
"""The options of each kind, besides its `type`."""

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_SWITCHES = ("readonly", "readwrite", "required")
_SHARING = ("shared", "private", "locked")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)


def read_mount(written: str) -> dict[str, str]:
    """Return the options of `--mount=written` under their full names; the values may still hold variables.

    Raises DockerfileError (without a line) for an option that there is not, or not for this kind of mount.
    """
    options: dict[str, str] = {}
    for field in written.split(","):
        name, equals, value = field.strip().partition("=")
        name = name.lower()
        name = _ALIASES.get(name, name)
        if not equals and name not in _SWITCHES:
            raise DockerfileError(f"invalid field {field.strip()!r} in --mount={written}", hint="write key=value")
        options[name] = value if equals else "true"
    kind = options.setdefault("type", "bind")
    if kind not in KINDS:
        raise DockerfileError(f"unsupported mount type {kind!r}", hint=suggestion(kind, KINDS))
    for name in options:
        if name != "type" and name not in KINDS[kind]:
            known = [*KINDS[kind], *(alias for alias, full in _ALIASES.items() if full in KINDS[kind])]
            raise DockerfileError(
                f"unexpected key {name!r} for mount type {kind!r} in --mount={written}", hint=suggestion(name, known)
            )
    if "target" not in options and kind not in ("secret", "ssh"):
        raise DockerfileError(f"--mount={written}: target is missing", hint="add target=/path")
    if "$" in options.get("from", ""):
        raise DockerfileError(
            f"--mount={written}: from takes no variables",
            hint="name the image with FROM image AS name, and use the name",
        )
    return options


def checked_values(options: Mapping[str, str]) -> None:
    """Check the values of expanded `options`. Raises DockerfileError (without a line)."""
    for name in _SWITCHES:
        switch(options, name)
    for name in ("uid", "gid"):
        if not options.get(name, "0").isdigit():
            raise DockerfileError(f"--mount: {name}={options[name]} is not a number", hint="names are not known here")
    if not re.fullmatch(r"[0-7]{1,4}", options.get("mode", "0")):
        raise DockerfileError(
            f"--mount: mode={options['mode']} is not an octal mode", hint="write for example mode=0755"
        )
    if (sharing := options.get("sharing", "shared")) not in _SHARING:
        raise DockerfileError(f"unsupported sharing value {sharing!r}", hint=suggestion(sharing, _SHARING))
    size_bytes(options.get("size", "0"))


def switch(options: Mapping[str, str], name: str) -> bool:
    """Return whether the boolean option `name` is on. Raises DockerfileError when it is neither true nor false."""
    value = options.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise DockerfileError(f"--mount: {name}={options[name]} is neither true nor false")
    return value in ("true", "1")


def size_bytes(written: str) -> int:
    """Return a size as `64m` or `1GB` in bytes. Raises DockerfileError."""
    match = _SIZE.fullmatch(written.strip())
    if match is None:
        raise DockerfileError(f"--mount: invalid size {written!r}", hint="write for example size=64m")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))
