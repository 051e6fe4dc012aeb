"""`--chmod`: octal and symbolic modes (chmod(1))."""

from __future__ import annotations

import re
import stat

from runtime.build.errors import DockerfileError

_OCTAL = re.compile(r"0*[0-7]{1,4}")
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111}
# the sticky bit comes with the user and the group, and not with the others (BuildKit)
_WHO = {"u": 0o5700, "g": 0o3070, "o": 0o007, "a": 0o7777}
_SHIFT = {"u": 6, "g": 3, "o": 0}


def checked_mode(change: str) -> str:
    """Return `change`. Raises DockerfileError when chmod(1) would not take it."""
    if not _OCTAL.fullmatch(change) and not all(_CLAUSE.fullmatch(clause) for clause in change.split(",")):
        raise DockerfileError(
            f"invalid chmod parameter: {change!r}", hint="write it as 755 (0 to 07777), or u=rwX,go=rX"
        )
    return change


def directory_mode(change: str | None) -> int:
    """Return the permission bits of directories that are made on the way to what is copied with `--chmod=change`.

    An octal mode of permissions alone counts for them as well; a symbolic one has nothing to start from.
    """
    mode = int(change, 8) if change and _OCTAL.fullmatch(change) else 0o755
    return mode if mode <= 0o777 else 0o755


def changed_mode(change: str, mode: int) -> int:
    """Return the permission bits of `mode` (a full st_mode) after `change`, for example `755` or `u=rwX,go-w`.

    Raises DockerfileError for a change that chmod(1) would not take.
    """
    if _OCTAL.fullmatch(checked_mode(change)):
        return int(change, 8)
    bits = stat.S_IMODE(mode)
    for clause in change.split(","):
        match = _CLAUSE.fullmatch(clause)
        assert match is not None, "it was checked"
        who = 0
        for letter in match[1] or "a":
            who |= _WHO[letter]
        for operator, letters in _ACTION.findall(match[2]):
            bits = _apply(operator, letters, who, bits, stat.S_ISDIR(mode))
    return bits


def _apply(operator: str, letters: str, who: int, bits: int, is_directory: bool) -> int:
    wanted = 0
    for letter in letters:
        if letter in _SHIFT:  # the permissions that these have
            wanted |= (bits >> _SHIFT[letter] & 0o7) * 0o111
        elif letter == "X":
            wanted |= 0o111 if is_directory or bits & 0o111 else 0
        elif letter == "s":
            wanted |= 0o6000
        elif letter == "t":
            wanted |= 0o1000
        else:
            wanted |= _BITS[letter]
    wanted &= who
    if operator == "+":
        return bits | wanted
    if operator == "-":
        return bits & ~wanted
    return bits & ~(who & 0o777) | wanted
