"""Problems of a user's Compose files: each with its place, all of a load at once."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.errors import SkiffError


class ConfigError(SkiffError):
    """A problem in a user's file.

    `file` is the file as it was named, `line` and `column` count from 1 (0: the problem has no place in it).
    """

    def __init__(self, message: str, file: str = "", line: int = 0, column: int = 0, hint: str | None = None) -> None:
        place = f"{file}:{line}:{column}: " if file and line else f"{file}: " if file else ""
        super().__init__(place + message, hint)
        self.file, self.line, self.column = file, line, column
        self.problem = message


class ConfigErrors(ConfigError):
    """Several problems that one load found; `errors` has them in the order of the files."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first = errors[0]
        super().__init__(first.problem, first.file, first.line, first.column, first.hint)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
