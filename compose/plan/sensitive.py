"""What looks like a secret in a file that is about to be seen by others. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = {
    "AWS Access Key": r"\bA(?:KIA|SIA|GPA|ROA)[0-9A-Z]{16}\b",
    "Github authentication": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})\b",
    "JSON Web Token": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    "Private Key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY",
    "URL with password": r"\b[a-z][a-z0-9+.-]*://[^\s:/@${}]+:[^\s/@${}]+@",
}


class SecretFinding(NamedTuple):
    """What was found, and in which line of the text."""

    kind: str
    line: int
    text: str


def findings(text: str) -> Iterator[SecretFinding]:
    """Yield what looks like a secret in `text`."""
    for number, line in enumerate(text.splitlines(), 1):
        for kind, pattern in KINDS.items():
            if re.search(pattern, line):
                yield SecretFinding(kind, number, line.strip())
