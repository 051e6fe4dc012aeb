"""Rules: which change of a file leads to which action (Compose Specification, "develop"). Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from compose.plan.parts import Hook
from compose.plan.project import DesiredProject
from compose.plan.service import Service
from compose.watch.patterns import Patterns, below, is_leftover
from runtime.dockerignore import Ignore
from runtime.errors import BadRequestError, SkiffError

MANUAL = "see https://docs.docker.com/compose/how-tos/file-watch/"


class Action(Enum):
    """What a change leads to."""

    SYNC = "sync"
    REBUILD = "rebuild"
    RESTART = "restart"
    SYNC_RESTART = "sync+restart"
    SYNC_EXEC = "sync+exec"

    @property
    def syncs(self) -> bool:
        """Whether files go into the containers."""
        return self in (Action.SYNC, Action.SYNC_RESTART, Action.SYNC_EXEC)

    @property
    def restarts(self) -> bool:
        """Whether the containers are restarted."""
        return self in (Action.RESTART, Action.SYNC_RESTART)


@dataclass(frozen=True)
class WatchRule:
    """One entry of a service's `develop.watch`.

    `path` is absolute. `target` is where it goes in a container, "" where nothing does. `ignored` are the patterns of the
    rule and of the build's ignore file, `included` those of which one has to match. `spared` are single files that only
    a rule on themselves means: Compose files, Dockerfiles. `mounted` are paths that the containers see as they are.
    """

    service: str
    action: Action
    path: str
    target: str = ""
    included: Patterns | None = None
    ignored: tuple[Patterns, ...] = ()
    spared: frozenset[str] = frozenset()
    mounted: tuple[str, ...] = ()
    hook: Hook | None = None
    has_initial_sync: bool = False

    def wants(self, path: str) -> bool:
        """Whether the rule applies to a change of the absolute `path`."""
        relative = below(self.path, path)
        if relative is None or (path in self.spared and relative):
            return False
        if self.included is not None and not self.included.match(path):
            return False
        # what is written to a bind mount comes back as a change
        if (relative and is_leftover(relative)) or any(below(each, path) is not None for each in self.mounted):
            return False
        return not any(each.match(path) for each in self.ignored)

    def may_want_below(self, folder: str) -> bool:
        """Whether the rule may apply to a path in `folder`, or to a parent of it."""
        relative = below(self.path, folder)
        if relative is None:
            return below(folder, self.path) is not None
        if (relative and is_leftover(relative)) or any(below(each, folder) is not None for each in self.mounted):
            return False
        return not any(each.match_all_below(folder) for each in self.ignored)

    def container_path(self, path: str) -> str:
        """Return where `path`, which the rule wants, goes in a container."""
        relative = below(self.path, path) or ""
        if not relative and self.target.endswith("/"):
            relative = posixpath.basename(path)
        return posixpath.normpath(posixpath.join("/", self.target, relative))


def rules_of(target: DesiredProject, services: Sequence[str], ignore_file_of: Mapping[str, Ignore]) -> list[WatchRule]:
    """Return the rules of `services`; `ignore_file_of` has the ignore files of builds by service.

    Raises SkiffError where none has any, and for a rule that can't work.
    """
    rules = [rule for name in services for rule in _service_rules(target, name, ignore_file_of.get(name))]
    if not rules:
        raise SkiffError(
            "none of the selected services is configured for watch, consider setting a 'develop' section", MANUAL
        )
    return rules


def _service_rules(target: DesiredProject, name: str, ignore: Ignore | None) -> Iterable[WatchRule]:
    service = target.services[name]
    build = service.build
    context = build.context if build else ""
    ignored = [Patterns(context, ignore)] if ignore is not None and context else []
    dockerfile = posixpath.normpath(posixpath.join(context, build.dockerfile or "Dockerfile")) if build else ""
    for entry in service.watch:
        action, path = Action(entry.action), posixpath.normpath(entry.path)
        if action is Action.REBUILD and not build:
            raise SkiffError(
                f'can\'t watch service "{name}" with action rebuild without a build context',
                f"give it a `build`, or let {path} lead to another action",
            )
        if action is Action.SYNC_EXEC and entry.hook is None:
            raise SkiffError(
                f'can\'t watch with action "sync+exec" on service {name} without a command',
                "write what to run: `exec: {command: ...}`",
            )
        mounted = _bind_sources(service) if action.syncs else ()
        if any(below(each, path) is not None for each in mounted):
            continue
        spared = {*target.config_files, dockerfile} if action.syncs else {*target.config_files}
        yield WatchRule(
            service=name,
            action=action,
            path=path,
            target=entry.target if action.syncs else "",
            included=_patterns(name, path, "include", entry.include),
            ignored=(*ignored, *filter(None, [_patterns(name, path, "ignore", entry.ignore)])),
            spared=frozenset(spared) - {""},
            mounted=mounted,
            hook=entry.hook,
            has_initial_sync=action.syncs and entry.has_initial_sync,
        )


def mounted_paths(target: DesiredProject, services: Sequence[str]) -> list[str]:
    """Return the paths whose rules are skipped, because a bind mount shows them in the containers already."""
    return [
        entry.path
        for name in services
        for entry in target.services[name].watch
        if Action(entry.action).syncs and _is_mounted(target.services[name], posixpath.normpath(entry.path))
    ]


def extended_services(target: DesiredProject, services: Sequence[str]) -> list[str]:
    """Return the services that have `x-initialSync` from before the specification took it up."""
    return [name for name in services if any(entry.has_extension for entry in target.services[name].watch)]


def _is_mounted(service: Service, path: str) -> bool:
    return any(below(each, path) is not None for each in _bind_sources(service))


def _bind_sources(service: Service) -> tuple[str, ...]:
    return tuple(posixpath.normpath(mount.source) for mount in service.mounts if mount.type == "bind")


def _patterns(service: str, base: str, key: str, written: Sequence[str]) -> Patterns | None:
    if not written:
        return None
    # a pattern may name its place in full: what is matched begins at the rule's path
    text = "\n".join(below(base, each) or each for each in written)
    try:
        return Patterns(base, Ignore.parse(text, f"service {service!r}: develop.watch: {key}"))
    except BadRequestError as error:
        raise SkiffError(error.message, "write patterns as in a .dockerignore file") from error


class WatchRules:
    """All rules of a project, asked for many paths."""

    def __init__(self, rules: Sequence[WatchRule]) -> None:
        self.rules = tuple(rules)
        self._passed_over: dict[str, bool] = {}

    def wanting(self, path: str) -> list[WatchRule]:
        """Return the rules that a change of `path` is for."""
        if self.pass_over(posixpath.dirname(path)):
            return []
        return [rule for rule in self.rules if rule.wants(path)]

    def pass_over(self, folder: str) -> bool:
        """Whether no rule applies to anything in `folder`."""
        found = self._passed_over.get(folder)
        if found is None:
            parent = posixpath.dirname(folder)
            found = (parent != folder and self.pass_over(parent)) or not any(
                rule.may_want_below(folder) for rule in self.rules
            )
            self._passed_over[folder] = found
        return found

    def roots(self) -> list[str]:
        """Return the paths of the rules, without those that lie in others."""
        paths = sorted({rule.path for rule in self.rules})
        return [path for path in paths if not any(other != path and below(other, path) is not None for other in paths)]
