"""Durations, byte sizes, command lines, ports and mounts: from what users write to the canonical long form. Pure.

Every function raises ValueError with a message for the user.
"""

from __future__ import annotations

from typing import Any

UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 604800 * 10**9,
}
SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
CONSISTENCIES = ("consistent", "cached", "delegated")


def duration_ns(text: str) -> int:
    """Return a duration such as "1m30s", "1.5h" or "2d" in nanoseconds."""
    total, position = 0, 0
    body = text.strip().lstrip("+-")
    if body == "0":
        return 0
    while position < len(body):
        start = position
        while position < len(body) and (body[position].isdigit() or body[position] == "."):
            position += 1
        number = body[start:position]
        start = position
        while position < len(body) and not body[position].isdigit() and body[position] != ".":
            position += 1
        unit = UNITS_NS.get(body[start:position])
        if not number or unit is None or number.count(".") > 1 or number == ".":
            raise ValueError(f'"{text}" is not a duration: write it as 10s, 1m30s or 500ms')
        total += int(number) * unit if "." not in number else round(float(number) * unit)
    if not body:
        raise ValueError("a duration is empty: write it as 10s, 1m30s or 500ms")
    return -total if text.strip().startswith("-") else total


def duration_text(nanoseconds: int) -> str:
    """Return a duration as the reference writes it: "1m30s", "1h0m0s", "500ms"."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < 10**9:
        for unit, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if rest >= size:
                return f"{sign}{_decimal(rest, size)}{unit}"
    minutes, below = divmod(rest, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(below, 10**9)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _decimal(value: int, size: int) -> str:
    whole, part = divmod(value, size)
    return f"{whole}.{str(part + size)[1:].rstrip('0')}" if part else str(whole)


def size_bytes(value: Any) -> int:
    """Return a byte size such as 1024, "512m" or "1.5GiB" in bytes."""
    if isinstance(value, int):
        return value
    text = str(value).strip() if isinstance(value, str) else ""
    end = len(text)
    while end and text[end - 1] not in "0123456789.":
        end -= 1
    suffix = text[end:].strip().lower()
    try:
        number = float(text[:end])
    except ValueError:
        number = -1.0
    factor = 1 if suffix in ("", "b") else SIZES.get(suffix[0]) if suffix[1:] in ("", "b", "ib") else None
    if number < 0 or factor is None:
        raise ValueError(f'"{value}" is not a size: write it as 512m, 1.5g or a number of bytes')
    return int(number * factor)


def text_of(value: Any) -> str:
    """Return a scalar as text, numbers and booleans as the reference prints them."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    return str(value)


def _float_text(value: float) -> str:
    text = repr(value)
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[text]
    if 1e-4 <= abs(value) < 1e21 or value == 0:
        return f"{value:.0f}" if value == int(value) else text
    mantissa, _, exponent = f"{value:e}".partition("e") if "e" not in text else text.partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent}"


def shell_words(text: str) -> list[str]:
    """Return the words of a command line; as the reference does, what follows an unquoted ; & | < > is left out."""
    words: list[str] = []
    word, has_word, quote, escaped = [], False, "", False
    for character in text:
        if escaped:
            word.append({"t": "\t", "n": "\n"}.get(character, character))
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = has_word = True
        elif quote:
            if character == quote:
                quote = ""
            else:
                word.append(character)
        elif character in "'\"":
            quote, has_word = character, True
        elif character in " \t\r\n":
            if has_word:
                words.append("".join(word))
            word, has_word = [], False
        elif character in ";&|<>":
            if character == ">" and word and word[0].isdigit():
                word, has_word = [], False
            break
        elif character == "(" and word[-1:] != ["$"]:
            raise ValueError(f'"{text}" is not a command line: quote the parenthesis, or write the command as a list')
        else:
            word.append(character)
            has_word = True
    if quote or escaped:
        raise ValueError(f'"{text}" is not a command line: a quote is not closed')
    if has_word:
        words.append("".join(word))
    return words


def ports(value: Any) -> list[dict[str, Any]]:
    """Return the long forms of a port in short form: `[HOST:]CONTAINER[/PROTOCOL]`, with ranges."""
    text = str(value)
    if isinstance(value, float):
        raise ValueError(f'"{text}" is not a port')
    spec, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f'"{text}" has the unknown protocol "{protocol}": tcp, udp and sctp are known')
    host, published, container = "", "", spec
    if spec.startswith("["):
        host, _, rest = spec[1:].partition("]")
        published, _, container = rest.removeprefix(":").rpartition(":")
    elif spec.count(":") == 1:
        published, container = spec.split(":")
    elif spec.count(":") > 1:
        host, published, container = spec.rsplit(":", 2)
    if not container:
        raise ValueError(f'"{text}" names no port of the container')
    if host and not is_address(host):
        raise ValueError(f'"{text}" has no valid address: {host}')
    first, last = _range(container, text)
    if published:
        low, high = _range(published, text)
        if last - first != high - low and last != first:
            raise ValueError(f'"{text}": the ranges have different lengths')
    found = []
    for target in range(first, last + 1):
        port: dict[str, Any] = {"mode": "ingress", "target": target, "protocol": protocol}
        if host:
            port["host_ip"] = host
        if published:
            dynamic = last == first and high > low
            port["published"] = f"{low}-{high}" if dynamic else str(low + target - first)
        found.append(port)
    return found


def is_address(text: str) -> bool:
    """Return whether `text` is an IPv4 or IPv6 address."""
    if ":" not in text:
        parts = text.split(".")
        return len(parts) == 4 and all(part.isdigit() and len(part) < 4 and int(part) < 256 for part in parts)
    import socket

    try:
        socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except OSError:
        return False
    return True


def _range(text: str, whole: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    if not (low.isascii() and low.isdigit() and (not dash or (high.isascii() and high.isdigit()))):
        raise ValueError(f'"{whole}" is not a port: write it as 80, 8080:80 or 127.0.0.1:8080:80/udp')
    first, last = int(low), int(high or low)
    if last < first or last > 65535:
        raise ValueError(f'"{whole}": ports are 0 to 65535, ranges rise')
    return first, last


def mount(text: str) -> dict[str, Any]:
    """Return the long form of a volume in short form: `[SOURCE:]TARGET[:OPTIONS]`."""
    if not text:
        raise ValueError("a volume is empty")
    parts = _mount_parts(text)
    if len(parts) == 1:
        return {"type": "volume", "target": clean_target(parts[0]), "volume": {}}
    source, target = parts[0], parts[1]
    found: dict[str, Any] = {"type": "volume", "source": source, "target": clean_target(target)}
    options: dict[str, Any] = {}
    if source[0] in "./~" or is_windows_path(source) or source.startswith("\\\\"):
        found["type"] = "bind"
        options = {"create_host_path": True}
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option in ("ro", "rw"):
            found["read_only"] = option == "ro"
        elif option in CONSISTENCIES:
            found["consistency"] = option
        elif option in PROPAGATIONS and found["type"] == "bind":
            options["propagation"] = option
        elif option in ("z", "Z") and found["type"] == "bind":
            options["selinux"] = option
        elif option == "nocopy" and found["type"] == "volume":
            options["nocopy"] = True
    if source.startswith("\\\\.\\pipe"):
        found["type"] = "npipe"
    found[found["type"]] = options
    return found


def _mount_parts(text: str) -> list[str]:
    parts = text.split(":")
    joined: list[str] = []
    for part in parts:
        if joined and len(joined[-1]) == 1 and joined[-1].isalpha() and part[:1] in ("\\", "/"):
            is_drive = part[:1] == "\\" or len(joined) == 1
            if is_drive:
                joined[-1] += ":" + part
                continue
        joined.append(part)
    if len(joined) > 1 and "" in joined:
        raise ValueError(f"invalid volume {text}: there is nothing between two colons")
    if len(joined) > 3:
        raise ValueError(f"invalid volume {text}: too many colons")
    return joined


def is_windows_path(text: str) -> bool:
    """Return whether `text` starts with a drive, as in C:/."""
    return len(text) > 2 and text[0].isalpha() and text[0].isascii() and text[1] == ":" and text[2] in "\\/"


def clean_target(path: str) -> str:
    """Return a mount's target without "." and ".." steps and doubled slashes."""
    import posixpath

    if not path:
        return ""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def device(text: str) -> dict[str, Any]:
    """Return the long form of a device: `SOURCE[:TARGET[:PERMISSIONS]]`."""
    parts = text.split(":")
    if len(parts) > 3:
        raise ValueError(f'"{text}" is ambiguous: use the long form of a device')
    target = parts[1] if len(parts) > 1 and parts[1] else parts[0]
    return {"source": parts[0], "target": target, "permissions": parts[2] if len(parts) > 2 else "rwm"}
