"""Signals to a container, and its removal."""

from __future__ import annotations

import contextlib
import os
import select
import signal

from runtime.errors import SkiffError
from runtime.oci import mount_table
from runtime.oci.cgroup import Cgroups
from runtime.oci.program import hooks, store
from runtime.oci.program.errors import ProgramError, StateError
from runtime.oci.program.log import Log
from runtime.oci.program.store import ContainerStore, StoredContainer

END_S = 10.0
"""How long a killed process may take to exit."""
HIGHEST_SIGNAL = 64


def signal_number(text: str) -> int:
    """Return the number of signal `text`: "9", "KILL", "SIGKILL", "RTMIN+1". Raises ProgramError."""
    if text.isascii() and text.isdigit():
        number = int(text)
        if 0 <= number <= HIGHEST_SIGNAL:
            return number
    else:
        name, plus, more = text.upper().removeprefix("SIG").partition("+")
        found = getattr(signal, "SIG" + name, None)
        if isinstance(found, signal.Signals) and (not plus or more.isdigit()):
            number = int(found) + int(more or 0)
            if number <= HIGHEST_SIGNAL:
                return number
    raise ProgramError(f"unknown signal {text!r}")


def send(container: StoredContainer, number: int, *, everybody: bool = False) -> None:
    """Send a signal to the container's init, or with `everybody` to its whole cgroup. Raises StateError if stopped."""
    status = container.status()
    if everybody and container.cgroup is not None:
        cgroups = Cgroups(has_systemd_tree=True)
        pids = cgroups.processes(container.cgroup)
        if status == store.STOPPED and not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return
    if status not in (store.CREATED, store.RUNNING, store.PAUSED):
        raise StateError(
            f"container {container.id} is {status}: there is no process to signal", "container not running"
        )
    _signal(container, number)


def _not_running(container: StoredContainer, status: str = store.STOPPED) -> StateError:
    # runc's message, which its callers search for
    return StateError(f"container not running: {container.id} is {status}")


def _signal(container: StoredContainer, number: int) -> None:
    """Signal the container's init, never another process that has reused its PID."""
    pid = int(container.record["pid"])
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise _not_running(container) from None
    try:
        if container.pid != pid:
            raise _not_running(container)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)
        if number == signal.SIGKILL and container.cgroup is not None:
            # in version 1 a frozen process does not die of SIGKILL
            cgroups = Cgroups(has_systemd_tree=True)
            if cgroups.is_frozen(container.cgroup):
                cgroups.freeze(container.cgroup, False)
    finally:
        os.close(pidfd)


def stop(container: StoredContainer) -> None:
    """Kill all processes of `container` and wait for them. Raises ProgramError if init does not exit."""
    pid = container.pid
    if pid:
        pidfd = os.pidfd_open(pid)
        try:
            with contextlib.suppress(StateError):
                _signal(container, signal.SIGKILL)
            if not select.select([pidfd], (), (), END_S)[0]:
                raise ProgramError(
                    f"the process {pid} of container {container.id} does not exit",
                    "it waits in the kernel, for a device",
                )
        finally:
            os.close(pidfd)
    if container.cgroup is not None:
        cgroups = Cgroups(has_systemd_tree=True)
        if any(os.path.isdir(directory) for directory in cgroups.directories(container.cgroup).values()):
            cgroups.kill(container.cgroup)


def destroy(kept: ContainerStore, container: StoredContainer, log: Log) -> None:
    """Kill and remove `container`; then run its poststop hooks, whose failures are only logged."""
    stop(container)
    state = container.state(store.STOPPED)
    if container.cgroup is not None:
        Cgroups(has_systemd_tree=True).remove(container.cgroup)
    if "mounts_before" in container.record:
        mount_table.unmount(container.record["rootfs"], container.record["mounts_before"])
    kept.remove(container)
    for hook in (container.document.get("hooks") or {}).get("poststop") or ():
        try:
            hooks.run("poststop", (hook,), state)
        except SkiffError as error:
            log.warning(str(error))


def delete(kept: ContainerStore, identity: str, log: Log, *, force: bool) -> None:
    """Delete the container `identity`; with `force` in any state, and without an error if it does not exist."""
    try:
        container = kept.find(identity)
        with store.locked(container):
            if not force:
                status = container.status()
                if status != store.STOPPED:
                    raise StateError(
                        f"container {identity} is {status}: only a stopped container can be deleted",
                        "--force kills it first",
                    )
            destroy(kept, container, log)
    except StateError:
        if not force:
            raise
        if os.path.lexists(os.path.join(kept.root, identity)):
            raise
        kept.sweep()  # a `delete` that was killed may have left files without a name
