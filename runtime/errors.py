"""The errors that users see: one class hierarchy, each with what happened, where, and what to do next."""

from __future__ import annotations

import errno
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

    `syscall` is its name, `arguments` are those of the call in the order of its manual page, `errno` is its `number`. The
    message shows the arguments that a person can read: names and paths. Without a `hint`, it is that of KERNEL_CURES.
    """

    def __init__(self, syscall: str, arguments: Sequence[object], number: int, hint: str | None = None) -> None:
        shown = ", ".join(filter(None, map(_readable, arguments)))
        call = f"{syscall}({shown})" if shown else syscall
        cure = hint or KERNEL_CURES.get((syscall, number)) or KERNEL_CURES.get(("", number))
        super().__init__(f"{call}: {os.strerror(number)}{_name(number)}", cure)
        self.syscall = syscall
        self.arguments = tuple(arguments)
        self.errno = number


NAMESPACE_LIMITS = "the limit of namespaces is reached: raise it, `sysctl user`, or stop something"
KERNEL_CURES = {
    ("clone3", errno.EAGAIN): "no more processes can be started: raise `ulimit -u`, or pids.max of the cgroup",
    ("clone3", errno.ENOSPC): NAMESPACE_LIMITS,
    ("unshare", errno.ENOSPC): NAMESPACE_LIMITS,
    ("mount", errno.ENOSPC): "a mount namespace has too many mounts: raise `sysctl fs.mount-max`",
    ("fsopen", errno.ENODEV): "this kernel does not have this filesystem: is its module loaded?",
    ("mount", errno.ENODEV): "this kernel does not have this filesystem: is its module loaded?",
    ("", errno.ENOSYS): "this kernel lacks the system call, or a seccomp filter around this program forbids it",
    ("", errno.EPERM): "the capabilities of this process, or a security module or seccomp filter, do not allow it",
}
"""What to do about an errno, by system call; "" is any."""


def _name(number: int) -> str:
    """Return the errno's name in brackets, "" if it has none."""
    return f" ({errno.errorcode[number]})" if number in errno.errorcode else ""


def _readable(argument: object) -> str:
    """Return a name or path among the arguments of a system call; "" for descriptors, flags, structures and nothing."""
    if type(argument).__module__ == "ipaddress":
        return str(argument)
    text = os.fsdecode(argument) if isinstance(argument, bytes) else argument
    if not isinstance(text, str) or text.startswith("0x") or not text.isprintable():
        return ""
    if text.startswith(DESCRIPTOR):
        try:
            return os.readlink(text)
        except OSError:  # of another process, or closed already
            return ""
    return text


DESCRIPTOR = "/proc/self/fd/"


def first_error(error: BaseException) -> BaseException:
    """Return the first error of a (nested) exception group; an error that is not a group is returned as it is."""
    return first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def reason_of(error: BaseException) -> str:
    """Return what went wrong in words: of an OSError the file and the system's reason, and not its number."""
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part is not None)
    return str(error) or type(error).__name__
