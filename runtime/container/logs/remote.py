"""Log drivers that send a container's output elsewhere: their options, checked as dockerd does. Pure but for one stat(2).

The output is in the container's log, too (Docker's "dual logging"), so that `docker logs` works with each of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from runtime.booleans import FALSE, TRUE
from runtime.errors import BadRequestError

SYSLOG, JOURNALD, FLUENTD, GELF = "syslog", "journald", "fluentd", "gelf"
ATTRIBUTES = ("labels", "labels-regex", "env", "env-regex", "tag")
OPTIONS: dict[str, tuple[str, ...]] = {
    SYSLOG: (
        "syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key",
        "syslog-tls-skip-verify",
    ),
    JOURNALD: (),
    FLUENTD: (
        "fluentd-address", "fluentd-async", "fluentd-async-reconnect-interval", "fluentd-buffer-limit",
        "fluentd-max-retries", "fluentd-request-ack", "fluentd-retry-wait", "fluentd-sub-second-precision",
        "fluentd-write-timeout",
    ),
    GELF: (
        "gelf-address", "gelf-compression-level", "gelf-compression-type", "gelf-tcp-max-reconnect",
        "gelf-tcp-reconnect-delay",
    ),
}  # fmt: skip
"""The options of each driver, besides ATTRIBUTES."""
JOURNAL = "/run/systemd/journal/socket"
LOCAL_SYSLOG = ("/dev/log", "/var/run/syslog", "/var/run/log")
"""Where a local syslog may listen."""
SYSLOG_PORT, FLUENTD_PORT = 514, 24224
FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
"""By number (syslog(3))."""
FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
DATAGRAM, STREAM = "datagram", "stream"
_DURATION = re.compile(r"[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+|0")


@dataclass(frozen=True)
class Tls:
    """How a receiver is verified, and what we identify ourselves with: names of files in PEM, "" for none.

    Without `ca_file`, the machine's own authorities count.
    """

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    trusts_anybody: bool = False


@dataclass(frozen=True)
class Destination:
    """Where a driver sends: a socket of `kind` at `host` and `port`, or at one of `paths`."""

    driver: str
    kind: str
    host: str = ""
    port: int = 0
    paths: tuple[str, ...] = ()
    facility: int = 3
    format: str = ""
    compression: str = "gzip"
    level: int = 1
    has_nanoseconds: bool = False
    """Whether fluentd gets times as EventTime."""
    is_async: bool = False
    """Whether the container may start while nobody listens."""
    tls: Tls | None = None
    confirms: bool = False
    """Whether fluentd is to confirm each message."""


def destination(driver: str, options: Mapping[str, str]) -> Destination:
    """Return where a LogConfig's driver sends. Raises BadRequestError with dockerd's message."""
    known = (*OPTIONS[driver], *ATTRIBUTES)
    for name in options:
        if name not in known:
            shown = f'"{name}"' if driver == GELF else f"'{name}'"
            raise BadRequestError(f"unknown log opt {shown} for {driver} log driver", f"known are {', '.join(known)}")
    parsers: dict[str, Callable[[Mapping[str, str]], Destination]] = {
        SYSLOG: _syslog, FLUENTD: _fluentd, GELF: _gelf, JOURNALD: _journald,
    }  # fmt: skip
    return parsers[driver](options)


def _journald(_: Mapping[str, str]) -> Destination:
    return Destination(JOURNALD, DATAGRAM, paths=(JOURNAL,))


def _syslog(options: Mapping[str, str]) -> Destination:
    facility = options.get("syslog-facility", "") or "daemon"
    if facility in FACILITIES:
        number = FACILITIES.index(facility)
    elif facility.isascii() and facility.isdigit() and int(facility) < len(FACILITIES):
        number = int(facility)
    else:
        raise BadRequestError("invalid syslog facility", f"known are {', '.join(filter(None, FACILITIES))}")
    form = options.get("syslog-format", "")
    if form not in FORMATS:
        raise BadRequestError("Invalid syslog format", f"known are {', '.join(FORMATS[1:])}")
    address = options.get("syslog-address", "")
    if not address:
        return Destination(SYSLOG, "", paths=LOCAL_SYSLOG, facility=number, format=form)
    url = _url(address)
    if url.scheme not in ("unix", "unixgram", "udp", "tcp", "tcp+tls"):
        raise BadRequestError(f"unsupported scheme: '{url.scheme}'", "write udp://HOST:514, tcp:// or unix:///dev/log")
    kind = STREAM if url.scheme in ("unix", "tcp", "tcp+tls") else DATAGRAM
    if url.scheme.startswith("unix"):
        _check_path(url.path)
        return Destination(SYSLOG, kind, paths=(url.path,), facility=number, format=form)
    port = _port(url, "syslog-address") or SYSLOG_PORT
    tls = _syslog_tls(options) if url.scheme == "tcp+tls" else None
    return Destination(SYSLOG, kind, url.hostname or "", port, facility=number, format=form, tls=tls)


def _syslog_tls(options: Mapping[str, str]) -> Tls:
    # dockerd skips the verification whatever the option says, "false" too: that much trust is not given by mistake here
    is_trusting = options.get("syslog-tls-skip-verify", "false") not in FALSE
    return Tls(
        options.get("syslog-tls-ca-cert", ""),
        options.get("syslog-tls-cert", ""),
        options.get("syslog-tls-key", ""),
        trusts_anybody=is_trusting,
    )


def _check_path(path: str) -> None:
    try:
        os.stat(path)
    except OSError as error:
        raise BadRequestError(
            f"stat {path}: {os.strerror(error.errno or 0).lower()}", "name the socket of a running syslog"
        ) from error


def _fluentd(options: Mapping[str, str]) -> Destination:
    for name in ("fluentd-async", "fluentd-request-ack", "fluentd-sub-second-precision"):
        _flag(options, name)
    if "fluentd-max-retries" in options:
        _number(options["fluentd-max-retries"], "strconv.ParseUint")
    for name in ("fluentd-retry-wait", "fluentd-async-reconnect-interval", "fluentd-write-timeout"):
        if name in options and not _DURATION.fullmatch(options[name]):
            raise BadRequestError(f'time: invalid duration "{options[name]}"', "write a duration, as in 500ms")
    address = options.get("fluentd-address", "") or f"127.0.0.1:{FLUENTD_PORT}"
    written = address if "://" in address else f"tcp://{address}"
    url = _url(written)
    if url.scheme not in ("tcp", "tls", "unix"):
        raise BadRequestError(
            f"invalid fluentd-address ({address}): unsupported scheme: '{url.scheme}'",
            "write HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH",
        )
    is_unix = url.scheme == "unix"
    return Destination(
        FLUENTD,
        STREAM,
        "" if is_unix else url.hostname or "127.0.0.1",
        0 if is_unix else _port(url, f"invalid fluentd-address ({address})") or FLUENTD_PORT,
        (url.path,) if is_unix else (),
        has_nanoseconds=_flag(options, "fluentd-sub-second-precision"),
        is_async=_flag(options, "fluentd-async"),
        tls=Tls() if url.scheme == "tls" else None,
        confirms=_flag(options, "fluentd-request-ack"),
    )


def _gelf(options: Mapping[str, str]) -> Destination:
    address = options.get("gelf-address", "")
    if not address:
        raise BadRequestError("gelf-address is a required parameter", "write udp://HOST:12201 or tcp://HOST:12201")
    url = _url(address)
    if url.scheme not in ("udp", "tcp"):
        raise BadRequestError("gelf: endpoint needs to be TCP or UDP", "write udp://HOST:12201 or tcp://HOST:12201")
    port = _port(url, "gelf")
    if not port or not url.hostname:
        raise BadRequestError("gelf: please provide gelf-address as proto://host:port")
    compression = options.get("gelf-compression-type", "gzip")
    level = options.get("gelf-compression-level", "1")
    for name in ("gelf-compression-type", "gelf-compression-level"):
        if name in options and url.scheme != "udp":
            raise BadRequestError("compression is only supported on UDP", f"leave {name} out")
    for name in ("gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"):
        if name in options and url.scheme != "tcp":
            raise BadRequestError(f'"{name}" is only valid for TCP', "leave it out")
        if name in options:
            _number(options[name], "strconv.Atoi")
    _one_of("gelf-compression-type", compression, ("gzip", "zlib", "none"))
    _one_of("gelf-compression-level", level, tuple(map(str, range(-1, 10))))
    kind = DATAGRAM if url.scheme == "udp" else STREAM
    return Destination(GELF, kind, url.hostname, port, compression=compression, level=int(level))


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BadRequestError(
            f'unknown value "{value}" for log opt "{name}" for gelf log driver', f"known are {', '.join(known)}"
        )


def _url(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError as error:
        raise BadRequestError(f'parse "{address}": {error}', "write it as udp://HOST:PORT") from error


def _port(url: SplitResult, what: str) -> int | None:
    try:
        return url.port
    except ValueError:
        written = url.netloc.rpartition(":")[2]
        raise BadRequestError(
            f'{what}: invalid port: strconv.ParseUint: parsing "{written}": value out of range', "ports are 1 to 65535"
        ) from None


def _flag(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "false")
    if text not in (*TRUE, *FALSE):
        raise BadRequestError(f'strconv.ParseBool: parsing "{text}": invalid syntax', f"{name} is true or false")
    return text in TRUE


def _number(text: str, function: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise BadRequestError(f'{function}: parsing "{text}": invalid syntax', "write a whole number")
    return int(text)


def is_remote(config: Mapping[str, Any] | None) -> bool:
    """Whether a LogConfig's driver sends the output elsewhere."""
    return ((config or {}).get("Type") or "") in OPTIONS
