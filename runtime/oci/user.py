"""Docker's user strings against the container's own /etc/passwd and /etc/group; read inside the container."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class Identity:
    """Who the process runs as; `home` is the account's, "/" when it has none."""

    # a plain class: `dataclasses` and what it imports would cost the keeper more than a megabyte
    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


class UserError(Exception):
    """The wanted user or group does not exist in the container."""


def _records(path: str) -> Iterator[list[str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.rstrip("\n").split(":")
                if len(fields) > 3 and fields[2].isdigit():
                    yield fields
    except OSError:
        return


def resolve(user: str, extra: Sequence[str] = ()) -> Identity:
    """Return the identity that `user` ("", name, uid, name:group, uid:gid) and the groups `extra` stand for."""
    name, _, group = user.partition(":")
    name = name or "0"
    account = next((r for r in _records("/etc/passwd") if r[0] == name), None)
    if account is None and name.isdigit():
        account = next((r for r in _records("/etc/passwd") if r[2] == name), None)
    if account is None and not name.isdigit():
        raise UserError(f"unable to find user {name}: no matching entries in passwd file")
    uid = int(account[2]) if account else int(name)
    gid = int(account[3]) if account and account[3].isdigit() else 0
    home = account[5] if account and len(account) > 5 and account[5] else "/"
    groups: list[int] = []
    records = list(_records("/etc/group"))
    if group:
        gid = _group(group, records)
    elif account:
        groups = [int(r[2]) for r in records if account[0] in r[3].split(",")]
    groups += [_group(wanted, records) for wanted in extra]
    return Identity(uid, gid, tuple(dict.fromkeys(groups)), home)


def _group(wanted: str, records: Sequence[Sequence[str]]) -> int:
    for record in records:
        if record[0] == wanted:
            return int(record[2])
    if wanted.isdigit():
        return int(wanted)
    raise UserError(f"unable to find group {wanted}: no matching entries in group file")
