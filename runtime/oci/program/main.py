"""Runs one command: parses the command line, prints errors, exits with its code."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence

from runtime.errors import SkiffError
from runtime.hints import NoReturn
from runtime.oci.program import arguments, warmup
from runtime.oci.program.errors import ProgramError, StateError
from runtime.oci.program.log import Log
from runtime.oci.program.store import CREATED, PAUSED, RUNNING, STOPPED, ContainerStore, locked

EXEC_FAILED = 255


def main(words: Sequence[str], *, enters: bool) -> NoReturn:
    """Run the command line `words`; `enters`: whether the command puts a process into a container.

    Exits with runc's codes: 1 if it failed, `run` and `exec` with that of the process.
    """
    log = Log()
    if enters:
        warmup.begin()
    try:
        options = arguments.parse(words)
        log = Log(options.log, options.log_format)
        code = _dispatch(options, log)
        sys.stdout.flush()
    except ProgramError as error:
        log.error(str(error))
        code = error.exit_code
    except SkiffError as error:
        log.error(str(error))
        code = 1
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 1
    except OSError as error:
        log.error(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
        code = 1
    except Exception as error:
        if os.environ.get("SKIFF_DEBUG"):
            raise
        log.error(
            f"internal error: {type(error).__name__}: {error}\n    this is a bug; $SKIFF_DEBUG=1 shows where it happened"
        )
        code = 1
    os._exit(code)


def _dispatch(options: Namespace, log: Log) -> int:
    if options.version:
        from runtime.oci.program.document import NEWEST
        from runtime.version import version

        print(f"skiff oci version {version()}\nspec: {NEWEST}")
        return 0
    if options.command in (None, "help") or options.help:
        print(arguments.help_text(), end="")
        return 0
    if options.systemd_cgroup or options.cgroup_manager == "systemd":
        raise ProgramError(
            "the systemd cgroup manager is not supported",
            "omit --systemd-cgroup, and set linux.cgroupsPath to a path",
        )
    return HANDLERS[options.command](
        options, ContainerStore(options.root or _default_root(os.environ, os.geteuid())), log
    )


def _default_root(environ: Mapping[str, str], uid: int) -> str:
    """Return the state directory of user `uid`."""
    if environ.get("SKIFF_RUN"):
        return os.path.join(environ["SKIFF_RUN"], "oci")
    if uid == 0:
        return "/run/skiff/oci"
    return os.path.join(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}", "skiff/oci")


def _create(options: Namespace, kept: ContainerStore, log: Log) -> int:
    from runtime.oci.program import launching

    return launching.create(options, kept, log)


def _run(options: Namespace, kept: ContainerStore, log: Log) -> int:
    from runtime.oci.program import launching

    return launching.run(options, kept, log)


def _start(options: Namespace, kept: ContainerStore, log: Log) -> int:
    from runtime.oci.program import creation, ending, hooks

    container = kept.find(options.id)
    with locked(container):
        container.need(CREATED)
        if not container.document["process"]["args"]:
            raise StateError(
                f"container {container.id} has no process to start",
                "its config.json had no `process`: delete it, and create it with one",
            )
        try:
            creation.start(container, creation.connect(container))
        except hooks.HookError:
            # "generate an error, stop the container, and continue the lifecycle at step 12", at which it is
            # destroyed (OCI runtime spec, "Lifecycle")
            ending.destroy(kept, container, log)
            raise
    return 0


def _exec(options: Namespace, kept: ContainerStore, log: Log) -> int:
    from runtime.oci.program import inside

    try:
        return inside.execute(options, kept, log)
    except (SkiffError, OSError) as error:
        # as runc: 255 distinguishes a failure of the command from one of the process
        raise ProgramError(f"exec failed: {error}", exit_code=EXEC_FAILED) from error


def _state(options: Namespace, kept: ContainerStore, _: Log) -> int:
    container = kept.find(options.id)
    found = container.state()
    found.update(rootfs=container.record["rootfs"], created=container.record["created"], owner=_owner(container.record))
    print(json.dumps(found, indent=2))
    return 0


def _owner(record: Mapping[str, object]) -> str:
    import pwd

    uid = int(str(record["owner"]))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _list(options: Namespace, kept: ContainerStore, _: Log) -> int:
    from runtime.oci.program import listing

    print(listing.shown(kept.all(), options.format, quiet=options.quiet, owner=_owner), end="")
    return 0


def _ps(options: Namespace, kept: ContainerStore, _: Log) -> int:
    from runtime.oci.program import listing

    print(listing.processes(kept.find(options.id), options.format, options.arguments), end="")
    return 0


def _kill(options: Namespace, kept: ContainerStore, _: Log) -> int:
    from runtime.oci.program import ending

    number = ending.signal_number(options.signal)
    _each(options, kept, lambda identity: ending.send(kept.find(identity), number, everybody=options.all))
    return 0


def _each(options: Namespace, kept: ContainerStore, act: Callable[[str], None]) -> None:
    """Call `act` with the ID, with --regex with each that matches. Raises the first error when all had their turn."""
    if not options.regex:
        act(options.id)
        return
    import re

    try:
        pattern = re.compile(options.id)
    except re.error as error:
        raise ProgramError(f"--regex {options.id}: {error}") from error
    errors = []
    for container in kept.all():
        if pattern.search(container.id):
            try:
                act(container.id)
            except SkiffError as error:
                errors.append(error)
    if errors:
        raise errors[0]


def _delete(options: Namespace, kept: ContainerStore, log: Log) -> int:
    from runtime.oci.program import ending

    _each(options, kept, lambda identity: ending.delete(kept, identity, log, force=options.force))
    return 0


def _pause(options: Namespace, kept: ContainerStore, _: Log) -> int:
    return _freeze(options, kept, frozen=True)


def _resume(options: Namespace, kept: ContainerStore, _: Log) -> int:
    return _freeze(options, kept, frozen=False)


def _freeze(options: Namespace, kept: ContainerStore, *, frozen: bool) -> int:
    from runtime.oci.cgroup import Cgroups

    container = kept.find(options.id)
    with locked(container):
        container.need(*((CREATED, RUNNING) if frozen else (PAUSED,)))
        if container.cgroup is None:
            raise ProgramError(f"container {container.id} has no cgroup to freeze")
        Cgroups(has_systemd_tree=True).freeze(container.cgroup, frozen)
    return 0


def _update(options: Namespace, kept: ContainerStore, _: Log) -> int:
    from runtime.oci.program import changes

    container = kept.find(options.id)
    with locked(container):
        if container.status() == STOPPED:
            container.need(CREATED, RUNNING, PAUSED)
        changes.update(container, options)
    return 0


def _events(options: Namespace, kept: ContainerStore, _: Log) -> int:
    from runtime.oci.program import usage

    usage.show(kept.find(options.id), once=options.stats, interval_s=options.interval)
    return 0


def _spec(options: Namespace, _: ContainerStore, __: Log) -> int:
    from runtime.oci.program import template

    template.write(options.bundle, options.config, rootless=options.rootless)
    return 0


def _features(_: Namespace, __: ContainerStore, ___: Log) -> int:
    from runtime.oci.program import features

    print(json.dumps(features.features(), indent=2))
    return 0


HANDLERS: Mapping[str, Callable[[Namespace, ContainerStore, Log], int]] = {
    "create": _create, "start": _start, "run": _run, "state": _state, "kill": _kill, "delete": _delete, "exec": _exec,
    "ps": _ps, "list": _list, "pause": _pause, "resume": _resume, "update": _update, "events": _events, "spec": _spec,
    "features": _features,
}  # fmt: skip
