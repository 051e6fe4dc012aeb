"""User and group names of an image, looked up in its own /etc/passwd and /etc/group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.build.errors import DockerfileError
from runtime.build.tree import Tree
from runtime.build.writer import Owner


@dataclass(frozen=True)
class Account:
    """Who a command runs as: numbers, supplementary groups, home directory."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def owner_of(text: str, tree: Tree) -> tuple[Owner, list[str]]:
    """Return the owner that `--chown=text` names (`user`, `user:group`, or numbers), and the names that nobody has.

    A number without group is its own group; a name without group brings its primary group. Who is unknown counts as root,
    as BuildKit has it, and so does an empty name.
    """
    user, colon, group = text.partition(":")
    unknown: list[str] = []
    uid = gid = 0
    if _is_id(user):
        uid = gid = int(user)
    elif user not in ("", "root"):
        row = next((row for row in _rows(tree, "/etc/passwd", 6) if row[0] == user), None)
        if row is None:
            unknown.append(user)
        else:
            uid, gid = int(row[2]), int(row[3])
    if colon and (_is_id(group) or group in ("", "root")):
        gid = int(group) if _is_id(group) else 0
    elif colon:
        found = next((row for row in _rows(tree, "/etc/group", 3) if row[0] == group), None)
        if found is None:
            unknown.append(group)
        else:
            gid = int(found[2])
    return Owner(uid, gid), unknown


def _is_id(text: str) -> bool:
    # a number that is none of the kernel's is looked up as a name
    return text.isdigit() and int(text) < 1 << 32


def account_of(text: str, tree: Tree) -> Account:
    """Return the account that `USER text` names; empty is root. Raises DockerfileError for an unknown name."""
    user, _, group = text.partition(":")
    user = user or "0"
    rows = list(_rows(tree, "/etc/passwd", 6))
    row = next((row for row in rows if row[0] == user), None)
    if row is None and user.isdigit():
        row = next((row for row in rows if row[2] == user), None)
    if row is None and not user.isdigit():
        raise DockerfileError(
            f"unable to find user {user}: no matching entries in passwd file",
            hint="make it with RUN useradd, or give a number",
        )
    uid, gid, home = (int(row[2]), int(row[3]), row[5] or "/") if row else (int(user), 0, "/")
    if group:
        return Account(uid, _group_id(group, tree), (), home)
    name = row[0] if row else user
    groups = tuple(int(entry[2]) for entry in _rows(tree, "/etc/group", 4) if name in entry[3].split(","))
    return Account(uid, gid, groups, home)


def _group_id(group: str, tree: Tree) -> int:
    for row in _rows(tree, "/etc/group", 3):
        if row[0] == group:
            return int(row[2])
    if group.isdigit():
        return int(group)
    raise DockerfileError(
        f"unable to find group {group}: no matching entries in group file",
        hint="make it with RUN groupadd, or give a number",
    )


def _rows(tree: Tree, path: str, width: int) -> Iterator[list[str]]:
    for line in tree.read_text(path).splitlines():
        row = line.split(":")
        if len(row) >= width and row[2].isdigit() and (width < 6 or row[3].isdigit()):
            yield row
