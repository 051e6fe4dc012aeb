"""What changes have left to do for one service, gathered until it is done. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from compose.watch.rules import Action, Rule


class Work:
    """Paths to sync (by where they go), and what is done once changes come no more: rebuild, restart, hooks."""

    def __init__(self) -> None:
        self.paths: dict[str, str] = {}
        self.rebuilds = False
        self.restarts = False
        self.hooks: list[Rule] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.paths or self.is_heavy)

    @property
    def is_heavy(self) -> bool:
        """Whether something is to do that a whole burst of changes is to lead to once."""
        return self.rebuilds or self.restarts or bool(self.hooks)

    def add(self, path: str, rules: Iterable[Rule]) -> None:
        """Add what a change of `path` leads to by those of its service's `rules` that want it."""
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
        """Return the paths to sync, and forget them."""
        found, self.paths = self.paths, {}
        return found

    def take_heavy(self) -> Work:
        """Return all else, and forget it: a rebuild makes new containers, which need no restart."""
        found = Work()
        found.rebuilds, found.restarts, found.hooks = self.rebuilds, self.restarts and not self.rebuilds, self.hooks
        self.rebuilds, self.restarts, self.hooks = False, False, []
        return found
