"""The errors a user can meet: one hierarchy, each with what happened, where, and what to do next."""

from __future__ import annotations

import os
from collections.abc import Sequence


class SkiffError(Exception):
    """Any failure that is told to a user without a traceback.

    `message` says what happened and where; `hint`, where known, says what to do next. `str()` gives both, the hint on
    its own indented line.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n    {self.hint}"

    def document(self) -> dict[str, str]:
        """Return the error as the Docker Engine API answers it, with the hint in a member of its own.

        Clients compare `message` with what Docker says.
        """
        return {"message": self.message} | ({"hint": self.hint} if self.hint else {})


class EngineError(SkiffError):
    """A failure that the engine answers over its API with `status` (Docker Engine API, "Errors")."""

    status = 500

    def __init__(self, message: str, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint)
        if status is not None:
            self.status = status

    @staticmethod
    def from_status(status: int, message: str, hint: str | None = None) -> EngineError:
        """Return the subclass that stands for HTTP `status`, or a plain `EngineError` that carries it."""
        for kind in (
            NotModifiedError,
            BadRequestError,
            ForbiddenError,
            NotFoundError,
            ConflictError,
            InternalError,
            UnavailableError,
        ):
            if kind.status == status:
                return kind(message, hint)
        return EngineError(message, hint, status)


class NotModifiedError(EngineError):
    """304: the container is in the wanted state already."""

    status = 304


class BadRequestError(EngineError):
    """400: a parameter is missing or malformed."""

    status = 400


class ForbiddenError(EngineError):
    """403: the operation is refused for this object."""

    status = 403


class NotFoundError(EngineError):
    """404: no such object."""

    status = 404


class ConflictError(EngineError):
    """409: the object's state, or another object, is in the way."""

    status = 409


class RequestTimeoutError(EngineError):
    """408: the client did not send in time what it had announced."""

    status = 408


class BodyTooLargeError(EngineError):
    """413: the request's body has more than is read."""

    status = 413


class InternalError(EngineError):
    """500: the engine failed."""

    status = 500


class UnavailableError(EngineError):
    """503: the engine can't serve this now."""

    status = 503


class KernelError(SkiffError):
    """A system call that failed.

    `syscall` is its name, `arguments` what it was called with, in the order of its manual page, `errno` the number.
    """

    def __init__(self, syscall: str, arguments: Sequence[object], errno: int, hint: str | None = None) -> None:
        shown = ", ".join(map(_readable, arguments))
        super().__init__(f"{syscall}({shown}): {os.strerror(errno)}", hint)
        self.syscall = syscall
        self.arguments = tuple(arguments)
        self.errno = errno


def _readable(argument: object) -> str:
    """Return an argument of a system call as strace(1) shows it: structures by their fields, paths as text."""
    if isinstance(argument, bytes):
        return argument.decode(errors="replace")
    fields = getattr(argument, "_fields_", None)
    if fields is None:
        return (
            str(argument) if isinstance(argument, str | int | float | tuple | None) else f"<{type(argument).__name__}>"
        )
    return "{" + ", ".join(f"{name}={getattr(argument, name)}" for name, *_ in fields) + "}"


def first_error(error: BaseException) -> BaseException:
    """Return the first error in a group, however deep; one that is no group is itself."""
    return first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
