"""Resolves Docker's user strings with the container's /etc/passwd and /etc/group; runs inside the container's root."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

LARGEST_FILE = 1 << 24
HIGHEST_ID = (1 << 31) - 1


class Identity:
    """UID, GID, supplementary groups and home directory ("/" without an account) of a process."""

    # not a dataclass: importing `dataclasses` would cost the keeper more than a megabyte
    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


class UserError(Exception):
    """The wanted user or group does not exist in the container."""


def _records(path: str) -> list[list[str]]:
    """Return the records of an account file; [] if it is not a regular file or implausibly large."""
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST_FILE:
            return []
        text = os.read(descriptor, about.st_size).decode("utf-8", "replace")
    except OSError:
        return []
    finally:
        os.close(descriptor)
    split = (line.split(":") for line in text.splitlines())
    return [fields for fields in split if len(fields) > 3 and _is_number(fields[2])]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(text: str) -> int:
    number = int(text)
    if number > HIGHEST_ID:
        raise UserError(f"uids and gids must be in range 0-{HIGHEST_ID}")
    return number


def resolve(user: str, extra: Sequence[str] = ()) -> Identity:
    """Return the identity for `user` ("", name, uid, name:group, uid:gid) with supplementary groups `extra`.

    A number is always an ID, never a name. Raises UserError with Docker's message.
    """
    name, _, group = user.partition(":")
    name = name or "0"
    accounts = _records("/etc/passwd")
    if _is_number(name):
        account = next((r for r in accounts if r[2] == str(int(name))), None)
    else:
        account = next((r for r in accounts if r[0] == name), None)
        if account is None:
            raise UserError(f"unable to find user {name}: no matching entries in passwd file")
    uid = _number(account[2] if account else name)
    gid = _number(account[3]) if account and _is_number(account[3]) else 0
    home = account[5] if account and len(account) > 5 and account[5] else "/"
    groups: list[int] = []
    records = _records("/etc/group") if group or account or extra else []
    if group:
        gid = _group(group, records)
    elif account:
        groups = [_number(r[2]) for r in records if account[0] in r[3].split(",")]
    groups += [_group(wanted, records) for wanted in extra]
    # the primary group is also a supplementary one, so that running a set-group-ID program does not lose it
    return Identity(uid, gid, tuple(dict.fromkeys([gid, *groups])), home)


def home(uid: int) -> str:
    """Return the home directory of user `uid`, "/" without an account."""
    account = next((r for r in _records("/etc/passwd") if r[2] == str(uid)), None)
    return account[5] if account and len(account) > 5 and account[5] else "/"


def _group(wanted: str, records: Sequence[Sequence[str]]) -> int:
    if _is_number(wanted):
        return _number(wanted)
    for record in records:
        if record[0] == wanted:
            return _number(record[2])
    raise UserError(f"unable to find group {wanted}: no matching entries in group file")
