"""The errors that users see: one class hierarchy, each with what happened, where, and what to do next."""

from __future__ import annotations

import os
from collections.abc import Sequence


class SkiffError(Exception):
    """Any failure that is shown to a user without a traceback.

    `message` says what happened and where; `hint`, if given, says what to do next. `str()` has both, the hint on an
    indented line of its own.
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
    """An error response of the engine's API with HTTP status `status` (Docker Engine API, "Errors")."""

    status = 500

    def __init__(self, message: str, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint)
        if status is not None:
            self.status = status

    @staticmethod
    def from_status(status: int, message: str, hint: str | None = None) -> EngineError:
        """Return an error of the subclass for HTTP `status`, or an `EngineError` with this status."""
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
    """304: the container is already in the requested state."""

    status = 304


class BadRequestError(EngineError):
    """400: a parameter is missing or malformed."""

    status = 400


class ForbiddenError(EngineError):
    """403: the operation is not permitted on this object."""

    status = 403


class NotFoundError(EngineError):
    """404: no such object."""

    status = 404


class ConflictError(EngineError):
    """409: the operation conflicts with the object's state or with another object."""

    status = 409


class RequestTimeoutError(EngineError):
    """408: the client did not send the whole request in time."""

    status = 408


class BodyTooLargeError(EngineError):
    """413: the request's body exceeds the limit."""

    status = 413


class InternalError(EngineError):
    """500: the engine failed."""

    status = 500


class UnavailableError(EngineError):
    """503: the engine can't handle the request now."""

    status = 503


class KernelError(SkiffError):
    """A failed system call.

    `syscall` is its name, `arguments` are those of the call in the order of its manual page, `errno` is the number.
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
    """Return the first error of a (nested) exception group; an error that is not a group is returned as it is."""
    return first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def reason_of(error: BaseException) -> str:
    """Return what went wrong in words: of an OSError the file and the system's reason, and not its number."""
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part is not None)
    return str(error) or type(error).__name__
