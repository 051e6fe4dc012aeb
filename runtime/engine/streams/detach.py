"""Detach keys, which end an attachment and leave the process running (Docker Engine API, "Attach"). Pure."""

from __future__ import annotations

import re

from runtime.errors import BadRequestError

DEFAULT_KEYS = "ctrl-p,ctrl-q"
_KEY = re.compile(r"ctrl-([a-z@\[\\\]^_])|([!-~ ])")


def parse_keys(text: str | None) -> bytes:
    """Parse keys ("ctrl-p,ctrl-q", "a") to the bytes that a terminal sends for them. Raises BadRequestError."""
    keys = bytearray()
    for one in (text or DEFAULT_KEYS).split(","):
        match = _KEY.fullmatch(one)
        if match is None:
            raise BadRequestError(f"invalid detach keys ({text}) provided: unknown character: '{one}'")
        keys.append(ord(match[1].upper()) & 0x1F if match[1] else ord(match[2]))
    return bytes(keys)


class DetachKeys:
    """Searches input for the keys; a possible beginning of them is held back until the next input."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return (input for the process, whether the keys were found); input after the keys is dropped."""
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._matched = 0
                    return bytes(out), True
                continue
            out += self._keys[: self._matched]
            self._matched = 0
            if byte == self._keys[0]:
                self._matched = 1
            else:
                out.append(byte)
        return bytes(out), False
