"""Numbers, command lines, ports and mounts: from what users write to the canonical long form. Pure.

Every function raises ValueError with a message for the user.
"""

from __future__ import annotations

import re
from typing import Any

from compose.units import decimal

PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
INTEGER = re.compile(r"[+-]?[0-9]+")


def number(text: str) -> float:
    """Return the number that a text stands for."""
    found = decimal(text)
    if found is None:
        raise ValueError(f'"{text}" is not a number')
    return found


def integer(text: str) -> int:
    """Return the whole number that a text stands for."""
    if INTEGER.fullmatch(text):
        return int(text)
    raise ValueError(f'"{text}" is not a whole number')


def boolean(text: str) -> bool:
    """Return the truth value that a text stands for (https://yaml.org/type/bool.html)."""
    word = text.lower()
    if word in ("true", "y", "yes", "on"):
        return True
    if word in ("false", "n", "no", "off"):
        return False
    raise ValueError(f'"{text}" is not a boolean: write true or false')


def single(value: float) -> float:
    """Return the shortest number that has the same single-precision value as `value`: what the reference prints."""
    import struct

    try:
        exact = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        raise ValueError(f"{value} is too large") from None
    for digits in range(1, 10):
        short = float(f"{exact:.{digits}g}")
        if struct.unpack("f", struct.pack("f", short))[0] == exact:
            return short
    return float(exact)


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
    word, has_word, escaped = "", False, False
    quotes: set[str] = set()  # the quotes that are open: " ' ` and ) for $(…
    for character in text:
        if escaped:
            word += {"t": "\t", "n": "\n"}.get(character, character)
            escaped, has_word = False, True
            continue
        if character == "\\" and "'" not in quotes:
            escaped = True
            continue
        if character in " \t\r\n":
            if quotes:
                word += character
            elif has_word:
                words.append(word)
                word, has_word = "", False
            continue
        if character in "\"'" and not quotes & {"\"'".replace(character, ""), ")"}:
            has_word = has_word or character in quotes
            quotes ^= {character}
            continue
        if character in ";&|<>" and not quotes:
            has_word = has_word and not (character == ">" and word[:1].isdigit())
            break
        if character == "(" and not quotes & {'"', "'", "`"}:
            if quotes or not word.endswith("$"):
                raise ValueError(f'"{text}" is not a command line: quote the parenthesis, or write a list')
            quotes.add(")")
        elif (character == "`" and not quotes & {'"', "'", ")"}) or (character == ")" and not quotes & {'"', "'", "`"}):
            quotes ^= {character}
        word += character
        has_word = True
    if quotes or escaped:
        raise ValueError(f'"{text}" is not a command line: a quote is not closed')
    if has_word:
        words.append(word)
    return words


def ports(value: Any) -> list[dict[str, Any]]:
    """Return the long forms of a port in short form: `[HOST:]CONTAINER[/PROTOCOL]`, with ranges."""
    text = str(value)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f'"{text}" is not a port')
    head, _, last_part = text.rpartition(":")
    container, _, protocol = last_part.partition("/")
    host, _, published = head.rpartition(":")
    protocol = protocol.lower() or "tcp"
    if not container:
        raise ValueError(f'"{text}" names no port of the container')
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f'"{text}" has the unknown protocol "{protocol}": tcp, udp and sctp are known')
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if host and not is_address(host):
        raise ValueError(f'"{text}" has no valid address: {host}')
    first, last = _range(container, text)
    if first == 0:
        raise ValueError(f'"{text}": a container has no port 0')
    low, high = _range(published, text) if published else (0, 0)
    if published and last - first != high - low and last != first:
        raise ValueError(f'"{text}": the ranges have different lengths')
    found = []
    for target in range(first, last + 1):
        port: dict[str, Any] = {"mode": "ingress", "target": target, "protocol": protocol}
        if host:
            port["host_ip"] = host
        if published:
            is_dynamic = last == first and high > low
            port["published"] = f"{low}-{high}" if is_dynamic else str(low + target - first)
        found.append(port)
    return sorted(found, key=lambda port: str(port["target"]))  # the reference sorts a range's ports as texts


def is_address(text: str) -> bool:
    """Return whether `text` is an IPv4 or IPv6 address."""
    import socket

    try:
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def _range(text: str, whole: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    high = high.partition("-")[0] if dash else low
    if not (low.isascii() and low.isdigit() and high.isascii() and high.isdigit()):
        raise ValueError(f'"{whole}" is not a port: write it as 80, 8080:80 or 127.0.0.1:8080:80/udp')
    first, last = int(low), int(high)
    if last < first or last > 65535:
        raise ValueError(f'"{whole}": ports are 0 to 65535, ranges rise')
    return first, last


def mount(text: str) -> dict[str, Any]:
    """Return the long form of a volume in short form: `[SOURCE:]TARGET[:OPTIONS]`; unknown options are ignored."""
    if not text:
        raise ValueError("a volume is empty")
    if len(text.encode()) < 3:
        return {"type": "volume", "target": clean_target(text)}
    parts = _mount_parts(text)
    found: dict[str, Any] = {"type": "volume", "target": clean_target(parts[0] if len(parts) == 1 else parts[1])}
    if len(parts) > 1:
        found["source"] = parts[0]
    bind: dict[str, Any] = {}
    volume: dict[str, Any] = {}
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option in ("ro", "rw"):
            found["read_only"] = option == "ro"
        elif option == "nocopy":
            volume["nocopy"] = True
        elif option in PROPAGATIONS:
            bind["propagation"] = option
        elif option in ("z", "Z"):
            bind["selinux"] = option
    if is_host_path(found.get("source", "")):
        found["type"] = "bind"
        bind["create_host_path"] = True
    if bind:
        found["bind"] = bind
    if volume or found["type"] == "volume":
        found["volume"] = volume
    return found


def _mount_parts(text: str) -> list[str]:
    """Return source, target and options; a single letter before a colon is a Windows drive, not a section."""
    parts: list[str] = []
    section = ""
    for character in text + "\0":
        if character == ":" and len(section) == 1 and section.isalpha():
            section += character
        elif character in ":\0":
            if not section:
                raise ValueError(f"invalid volume {text}: there is nothing between two colons")
            if len(parts) == 2 and character == ":":
                raise ValueError(f"invalid volume {text}: too many colons")
            parts.append(section)
            section = ""
        else:
            section += character
    return parts


def is_host_path(source: str) -> bool:
    """Return whether the source of a volume in short form is a path of the host, not a volume's name."""
    return source[:1] in tuple("./~") or source.startswith("\\\\") or (source[1:2] == ":" and source[0].isalpha())


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
