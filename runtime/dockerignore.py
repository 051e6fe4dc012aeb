"""`.dockerignore`: which paths a build's context excludes. Pure; used by the client and by the builder.

Source: Docker documentation, "Build context", "Syntax" of .dockerignore files: Go's `filepath.Match` plus `**`, `!` for
exceptions, the last matching line wins, and a directory's match covers what is below it.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from runtime.errors import BadRequestError


@dataclass(frozen=True)
class Rule:
    """One line: its pattern as written, the same as a regular expression, and whether it excludes or includes."""

    pattern: str
    expression: re.Pattern[str]
    excludes: bool


@dataclass(frozen=True)
class Ignore:
    """The rules of one .dockerignore file, in order."""

    rules: tuple[Rule, ...] = ()
    file: str = ".dockerignore"

    @classmethod
    def parse(cls, text: str, file: str = ".dockerignore") -> Ignore:
        """Read the rules of `text`.

        Raises BadRequestError, with file and line, for a malformed pattern.
        """
        rules = []
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
            if line.startswith("#") or not (written := line.strip()):
                continue
            body = written[1:].strip() if written.startswith("!") else written
            if not body:
                raise BadRequestError(f'{file}:{number}: illegal exclusion pattern: "!"')
            path = posixpath.normpath(body).lstrip("/")
            if path in ("", "."):
                continue
            try:
                # with what is below it
                expression = re.compile(f"(?:{path_pattern(path)})(?:/.*)?", re.DOTALL)
            except (re.error, ValueError) as error:
                raise BadRequestError(f"{file}:{number}: malformed pattern {written!r}: {error}") from None
            rules.append(Rule(written, expression, excludes=not written.startswith("!")))
        return cls(tuple(rules), file)

    def rule_for(self, path: str) -> Rule | None:
        """Return the rule that excludes `path` (relative, separated by `/`), or None if it is included."""
        decided: Rule | None = None
        for rule in self.rules:
            # only a rule that would change the result so far has to be matched
            if rule.excludes != (decided is not None) and rule.expression.fullmatch(path):
                decided = rule if rule.excludes else None
        return decided

    def excludes(self, path: str) -> bool:
        """Return whether `path` is excluded."""
        return bool(self.rules) and self.rule_for(path) is not None

    @property
    def has_exceptions(self) -> bool:
        """Whether something below an excluded directory may be included."""
        return any(not rule.excludes for rule in self.rules)


def path_pattern(pattern: str, *, any_depth: bool = True) -> str:
    """Convert a path pattern (`*`, `?`, `[a-z]`, `**`, backslash escapes) to a regular expression.

    Without `any_depth`, `**` means `*`. Raises ValueError for an unterminated class or escape.
    """
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if any_depth and character == "*" and pattern[position : position + 1] == "*":
            position += 1
            if pattern[position : position + 1] == "/":
                position += 1
            # at the end it matches anything, elsewhere any number of directories: `**a` does not match b/ca
            parts.append("(?:.*/)?" if position < len(pattern) else ".*")
        elif character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            end = _class_end(pattern, position)
            body = pattern[position:end].replace("[", "\\[").replace("&&", "&\\&").replace("||", "|\\|")
            body = body.replace("~~", "~\\~")
            parts.append(f"(?!/)[{body}]")
            position = end + 1
        elif character == "\\":
            if position >= len(pattern):
                raise ValueError("a backslash with nothing after it")
            parts.append(re.escape(pattern[position]))
            position += 1
        else:
            parts.append(re.escape(character))
    return "".join(parts)


def _class_end(pattern: str, position: int) -> int:
    start = position + 1 if pattern[position : position + 1] == "^" else position
    scan = start
    while scan < len(pattern):
        if pattern[scan] == "\\":
            scan += 1
        elif pattern[scan] == "]" and scan > start:
            return scan
        scan += 1
    raise ValueError("'[' without ']'")
