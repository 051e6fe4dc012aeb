"""What can go wrong in a build, with the Dockerfile's name and line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from runtime.errors import BadRequestError


class DockerfileError(BadRequestError):
    """A Dockerfile, or what it asks for, that cannot be built.

    `line` counts from 1; `problem` is the message without its place. `exit_code` is that of the failed command, where a
    command failed.
    """

    def __init__(
        self,
        problem: str,
        line: int = 0,
        hint: str | None = None,
        *,
        file: str = "Dockerfile",
        exit_code: int | None = None,
    ) -> None:
        super().__init__(f"{file}:{line}: {problem}" if line else f"{file}: {problem}", hint)
        self.problem = problem
        self.line = line
        self.exit_code = exit_code

    def in_file(self, file: str, line: int | None = None) -> DockerfileError:
        """Return the same failure as one of `file`, at `line` where that is known better."""
        return DockerfileError(
            self.problem, self.line if line is None else line, self.hint, file=file, exit_code=self.exit_code
        )


def suggestion(wrong: str, known: Iterable[str]) -> str | None:
    """Return `did you mean "x"?` for the known name nearest to `wrong`, or None when none is near."""
    found = nearest(wrong, known)
    return f'did you mean "{found}"?' if found else None


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to `wrong`, or None when none is near."""
    names = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(wrong.casefold(), names, n=1, cutoff=0.6)
    return names[near[0]] if near else None
