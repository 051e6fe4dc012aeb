"""Parses and checks the options of log drivers (HostConfig.LogConfig), with Docker's error messages. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote_plus

from runtime.bodies import LogConfig
from runtime.booleans import FALSE, TRUE
from runtime.container.logs import remote
from runtime.errors import BadRequestError

JSON_FILE, LOCAL, NONE = "json-file", "local", "none"
DRIVERS = ("", "default", JSON_FILE, LOCAL, NONE, *remote.OPTIONS)
NON_BLOCKING = "non-blocking"
MODES = ("", "blocking", NON_BLOCKING)
COMMON = ("mode", "max-buffer-size")
FILES = ("max-file", "max-size", "compress")
OPTIONS = {"local": FILES, **dict.fromkeys(("", "default", "json-file"), (*FILES, *remote.ATTRIBUTES))}
CACHE = ("cache-disabled", "cache-max-size", "cache-max-file", "cache-compress")
"""Options of the log that stays here where a driver sends it elsewhere ("dual logging")."""
LOCAL_MAX_BYTES, LOCAL_MAX_FILES = 20 << 20, 5
"""The defaults of the driver "local"."""
UNREAD_BYTES = 1 << 20
"""How much output of a container with the driver "none" is kept for attached clients that are a little behind."""
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?([kKmMgGtTpP]?)i?[bB]?", re.ASCII)
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
_FIELD = re.compile(r"\{\{ *\.(\w+) *\}\}")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


@dataclass(frozen=True)
class LogLimits:
    """How much of a log is kept: `files` segments of `max_bytes` each (None: no limit)."""

    max_bytes: int | None = None
    files: int = 1


UNLIMITED = LogLimits()


def limits_of(config: LogConfig | None) -> LogLimits:
    """Return the limits of a LogConfig. Raises BadRequestError on what Docker refuses."""
    driver = (config or {}).get("Type") or ""
    options = dict((config or {}).get("Config") or {})
    if driver == NONE:
        return LogLimits(UNREAD_BYTES, 1)
    _check_mode(options)
    if driver not in DRIVERS:
        raise BadRequestError(
            f'error looking up logging plugin {driver}: plugin "{driver}" not found',
            f"supported are {', '.join(DRIVERS[2:])}",
        )
    for name in ("labels-regex", "env-regex"):
        _pattern(name, options.get(name, ""))
    own = {name: value for name, value in options.items() if name not in (*COMMON, *CACHE)}
    if driver in remote.OPTIONS:
        remote.destination(driver, own)
        return _local({name.removeprefix("cache-"): options[name] for name in CACHE[1:] if name in options})
    for name in own:
        if name not in OPTIONS[driver]:
            which = "for log driver local" if driver == LOCAL else "for json-file log driver"
            raise BadRequestError(f"unknown log opt '{name}' {which}", f"known are {', '.join(OPTIONS[driver])}")
    return _local(options) if driver == LOCAL else _json_file(options)


def is_readable(config: LogConfig | None) -> bool:
    """Whether `docker logs` may show the log of a container with this LogConfig."""
    driver, options = (config or {}).get("Type") or "", (config or {}).get("Config") or {}
    return driver != NONE and not (driver in remote.OPTIONS and options.get("cache-disabled") in TRUE)


def _json_file(options: Mapping[str, str]) -> LogLimits:
    max_bytes = _bytes("max-size", options["max-size"]) if "max-size" in options else None
    if max_bytes == 0:
        raise _refusal("max-size must be a positive number", "write a size, as in 10m")
    files = _whole("max-file", options.get("max-file", "1"))
    if files < 1:
        raise _refusal("max-file cannot be less than 1", "write a number of files, as in 3")
    if _flag("compress", options.get("compress", "false")) and (files == 1 or max_bytes is None):
        raise _refusal(
            "compress cannot be true when max-file is less than 2 or max-size is not set", "set max-size and max-file"
        )
    return LogLimits(max_bytes, files)


def _local(options: Mapping[str, str]) -> LogLimits:
    max_bytes = _bytes("max-size", options["max-size"]) if "max-size" in options else LOCAL_MAX_BYTES
    files = _whole("max-file", options.get("max-file", str(LOCAL_MAX_FILES)))
    if files < 0:
        raise _refusal("max-file must not be negative", "write a number of files, as in 3")
    if _flag("compress", options.get("compress", "true")) and files <= 1:
        raise _refusal("compression cannot be enabled when max file count is 1", "set compress to false")
    return LogLimits(max_bytes or None, max(files, 1))


def _check_mode(options: Mapping[str, str]) -> None:
    mode = options.get("mode", "")
    if mode not in MODES:
        raise BadRequestError(f"logger: logging mode not supported: {mode}", "write blocking or non-blocking")
    if "max-buffer-size" in options:
        if mode != NON_BLOCKING:
            raise BadRequestError(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'", "set mode to non-blocking"
            )
        if not _SIZE.fullmatch(size := options["max-buffer-size"]):
            raise BadRequestError(
                f"error parsing option max-buffer-size: invalid size: '{size}'", "write a size, as in 1m"
            )


def _refusal(message: str, hint: str) -> BadRequestError:
    return BadRequestError(f"failed to initialize logging driver: {message}", hint)


def _bytes(name: str, text: str) -> int:
    """Parse a size in decimal units, as Docker does: "10m" is 10,000,000."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise _refusal(f"{name}: invalid size: '{text}'", "write a size, as in 10m")
    return int(float(match[1]) * 1000 ** _POWERS[match[2].lower()])


def _whole(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise _refusal(f"{name}: invalid number: '{text}'", "write a number of files, as in 3")
    return int(text)


def _flag(name: str, text: str) -> bool:
    if text not in (*TRUE, *FALSE):
        raise _refusal(f"{name}: invalid boolean value: '{text}'", "write true or false")
    return text in TRUE


def _pattern(name: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise _refusal(f"{name}: error parsing regexp: {error}: `{text}`", "write a regular expression") from error


def details(
    config: LogConfig | None,
    labels: Mapping[str, str],
    environment: Mapping[str, str],
    fields: Mapping[str, str],
) -> bytes:
    """Return the prefix of each line in `logs --details`.

    It contains the labels and environment variables that LogConfig selects, and its tag with the container's `fields`
    ("{{.Name}}") filled in.
    """
    options = dict((config or {}).get("Config") or {})
    found = attributes(options, labels, environment)
    if tag := options.get("tag"):
        found["tag"] = _FIELD.sub(lambda match: fields.get(match[1], match[0]), tag)
    pairs = (f"{quote_plus(name)}={quote_plus(found[name])}" for name in sorted(found))
    return ",".join(pairs).encode() + b" "


def attributes(options: Mapping[str, str], labels: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the labels and environment variables that a LogConfig's options select."""
    found: dict[str, str] = {}
    for what, known in (("labels", labels), ("env", environment)):
        names = options.get(what, "").split(",")
        found |= {name: known[name] for name in names if name in known}
        if text := options.get(f"{what}-regex"):
            found |= {name: value for name, value in known.items() if _pattern(what, text).search(name)}
    return found


def tag_of(options: Mapping[str, str], fields: Mapping[str, str]) -> str:
    """Return a container's tag from the template in its options. Raises BadRequestError with Go's message."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in fields:
            at = match.start() + 2
            raise BadRequestError(
                f'template: log-tag:1:{at}: executing "log-tag" at <.{match[1]}>: can\'t evaluate field {match[1]} in '
                "type *logger.Info",
                f"known are {', '.join(f'.{name}' for name in fields)}",
            )
        return fields[match[1]]

    template = options.get("tag") or "{{.ID}}"
    found = _FIELD.sub(value, template)
    if "{{" in found:
        raise BadRequestError("template: log-tag:1: unclosed action", "write fields of the container, as in {{.Name}}")
    return found
