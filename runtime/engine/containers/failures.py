"""How a start that failed is reported: messages, statuses and exit codes of dockerd (moby, daemon/start.go and errors.go).

    where it failed               message begins with                          status
    networks                      "failed to set up container networking: "    that of the error, 500 for a conflict
    the document, mounts          -                                            500, where the request was well-formed
    the container's own process   "failed to create task for container: …"     400 if the exit code is 126 or 127, else 500

Clients find the cause in these messages: `docker run` exits with 127 where one has "executable file not found".
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import BadRequestError, ConflictError, EngineError, InternalError, KernelError
from runtime.exhausted import exhaustion_error
from runtime.keeper.handles import LaunchError

NETWORKING = "failed to set up container networking: "
CREATE = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
)
INIT = "unable to start container process: error during container init: "
BEFORE_CREATE = ("unable to find user ", "unable to find group ", "uids and gids must be in range ")
"""What dockerd reads of the image before it calls its runtime; here the process does it."""
WRONG_KIND = (
    ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is "
    "the expected type"
)
NOT_EXECUTABLE, NOT_FOUND, NOT_STARTED = 126, 127, 128


@contextmanager
def networking() -> Iterator[None]:
    """Report errors of the block as those of the container's networks; a port in use is not the request's fault."""
    try:
        yield
    except LaunchError:
        raise
    except (BadRequestError, ConflictError) as error:
        raise InternalError(NETWORKING + error.message, error.hint) from error
    except EngineError as error:
        raise EngineError.from_status(error.status, NETWORKING + error.message, error.hint) from error
    except KernelError as error:
        told = exhaustion_error(error) or InternalError(error.message, error.hint)
        raise EngineError.from_status(told.status, NETWORKING + told.message, told.hint) from error


@contextmanager
def preparing() -> Iterator[None]:
    """Report errors of the block as the engine's: what is asked for was taken at creation, and can't be had now."""
    try:
        yield
    except BadRequestError as error:
        prefix = CREATE if error.message.startswith("sysctl ") else ""  # in Docker the runtime checks these
        raise InternalError(prefix + error.message, error.hint) from error


@contextmanager
def launching() -> Iterator[None]:
    """Report errors of the block as those of the OCI runtime that creates the container."""
    try:
        yield
    except LaunchError as error:
        if error.message.startswith(BEFORE_CREATE):
            raise LaunchError(error.message, NOT_STARTED, error.hint) from error
        raise described(error, CREATE + INIT) from error
    except InternalError as error:
        raise InternalError(CREATE + error.message.removeprefix("keeper: "), error.hint) from error


def described(error: LaunchError, prefix: str) -> LaunchError:
    """Return `error` with `prefix`, and the exit code that Docker derives from the message."""
    message, code = error.message, error.exit_code
    if "executable file not found" in message or "no such file or directory" in message:
        code = NOT_FOUND
    elif "permission denied" in message:
        code = NOT_EXECUTABLE
    elif "not a directory" in message:
        message, code = message + WRONG_KIND, NOT_FOUND
    return LaunchError(prefix + message, code, error.hint)


@contextmanager
def setting_sysctls() -> Iterator[None]:
    """Report a sysctl of the network that can't be set as the OCI runtime does, which sets them in Docker."""
    try:
        yield
    except KernelError as error:
        if error.syscall != "sysctl":
            raise
        name, value = error.arguments
        reason = os.strerror(error.errno).lower()
        is_missing = error.errno == errno.ENOENT
        what = f"open sysctl {name} file" if is_missing else f'failed to write sysctl {name} = "{value}"'
        raise described(LaunchError(f"{what}: {reason}", NOT_STARTED, error.hint), CREATE + INIT) from error
