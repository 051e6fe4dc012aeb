"""Errors of the commands of `skiff oci`."""

from __future__ import annotations

from runtime.errors import SkiffError


class ProgramError(SkiffError):
    """A command failed; `exit_code` is that of the program."""

    def __init__(self, message: str, hint: str | None = None, exit_code: int = 1) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


class DocumentError(ProgramError):
    """The bundle's config.json can't be the configuration of a container."""


class StateError(ProgramError):
    """The container is not in the state that the command needs, or there is no such container."""
