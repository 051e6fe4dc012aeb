"""The work that changes have caused for one service and that is still to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from compose.watch.rules import Action, WatchRule


class Work:
    """Paths to copy (path in the container → path here), and what waits for the end of a burst: rebuild, restart, hooks."""

    def __init__(self) -> None:
        self.paths: dict[str, str] = {}
        self.rebuilds = False
        self.restarts = False
        self.hooks: list[WatchRule] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.paths or self.is_heavy)

    @property
    def is_heavy(self) -> bool:
        """Whether a rebuild, restart or hook is pending: a whole burst of changes leads to one."""
        return self.rebuilds or self.restarts or bool(self.hooks)

    def add(self, path: str, rules: Iterable[WatchRule]) -> None:
        """Add the work for a change of `path` by `rules`, which apply to it."""
        for rule in rules:
            if rule.action.syncs:
                where = rule.container_path(path)
                self.paths.pop(where, None)  # the last one is the newest
                self.paths[where] = path
            self.rebuilds |= rule.action is Action.REBUILD
            self.restarts |= rule.action.restarts
            if rule.hook and rule not in self.hooks:
                self.hooks.append(rule)

    def take_paths(self) -> dict[str, str]:
        """Return the paths to copy, and clear them."""
        found, self.paths = self.paths, {}
        return found

    def take_heavy(self) -> Work:
        """Return the rest, and clear it; with a rebuild no restart is needed, as it makes new containers."""
        found = Work()
        found.rebuilds, found.restarts, found.hooks = self.rebuilds, self.restarts and not self.rebuilds, self.hooks
        self.rebuilds, self.restarts, self.hooks = False, False, []
        return found
