"""The commands `create` and `run`: terminals, preserved descriptors, --pid-file, waiting in the foreground."""

from __future__ import annotations

import os
import socket
from argparse import Namespace
from collections.abc import Mapping

from runtime.oci.program import creation, document, ending, store
from runtime.oci.program.errors import ProgramError
from runtime.oci.program.foreground import Foreground
from runtime.oci.program.log import Log
from runtime.oci.program.store import ContainerStore, write_whole


def create(options: Namespace, kept: ContainerStore, log: Log) -> int:
    """Create a container; its process waits for `start`."""
    request = _request(options)
    request.console = console(options.console_socket, request.has_terminal, attached=False)
    created = creation.create(kept, request, log)
    _write_pid(options.pid_file, created, kept, log)
    return 0


def run(options: Namespace, kept: ContainerStore, log: Log) -> int:
    """Create and start a container; without --detach, wait for it and return its exit code."""
    request = _request(options)
    if not request.config["process"]["args"]:
        raise ProgramError(f"{options.config or document.NAME}: process is missing", "`skiff oci create` needs none")
    request.waits_for_command = False
    request.console = console(options.console_socket, request.has_terminal, attached=not options.detach)
    if options.detach:
        created = creation.create(kept, request, log)
        _write_pid(options.pid_file, created, kept, log)
        _start(created, kept, log)
        return 0
    with Foreground(request.has_terminal, reaps=not options.no_subreaper) as foreground:
        request.console = foreground.console
        created = creation.create(kept, request, log)
        _write_pid(options.pid_file, created, kept, log)
        foreground.take_terminal()
        _start(created, kept, log)
        code = foreground.wait(created.pid, created.pidfd)
    if not options.keep:
        with store.locked(created.container):
            ending.destroy(kept, created.container, log)
    return code


def _request(options: Namespace) -> creation.CreateRequest:
    store.check_id(options.id)
    bundle = os.path.abspath(options.bundle)
    request = creation.CreateRequest(options.id, bundle, document.read(bundle, options.config))
    request.preserved = preserved(options.preserve_fds, os.environ)
    request.pivots = not options.no_pivot
    request.has_new_keyring = not options.no_new_keyring
    return request


def _start(created: creation.Created, kept: ContainerStore, log: Log) -> None:
    try:
        creation.start(created.container, created.channel)
    except BaseException:
        ending.destroy(kept, created.container, log)
        raise


def console(path: str, has_terminal: bool, *, attached: bool) -> socket.socket | None:
    """Return a connection to the console socket at `path`. Raises ProgramError if it conflicts with other options."""
    if not path:
        if has_terminal and not attached:
            raise ProgramError("a detached terminal needs --console-socket", "or set process.terminal to false")
        return None
    if not has_terminal or attached:
        raise ProgramError("--console-socket needs process.terminal, and `create` or --detach")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError as error:
        raise ProgramError(f"--console-socket {path}: {(error.strerror or str(error)).lower()}") from error
    return connection


def preserved(count: int, environ: Mapping[str, str]) -> int:
    """Return how many descriptors from 3 on are passed to the process. Raises ProgramError if one is not open."""
    listening = environ.get("LISTEN_FDS", "")
    total = count + (int(listening) if listening.isascii() and listening.isdigit() else 0)
    for descriptor in range(3, 3 + total):
        try:
            os.fstat(descriptor)
        except OSError as error:
            raise ProgramError(f"--preserve-fds: descriptor {descriptor} is not open") from error
    return total


def _write_pid(path: str, created: creation.Created, kept: ContainerStore, log: Log) -> None:
    if path:
        try:
            write_whole(path, str(created.pid))
        except OSError as error:
            ending.destroy(kept, created.container, log)
            raise ProgramError(f"--pid-file {path}: {error.strerror}") from error
