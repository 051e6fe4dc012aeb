"""`python -m runtime.install.stopping`: the service's ExecStop command, before the engine is stopped.

At a shutdown of the machine (or of a user's service manager), containers are stopped with their stop signals, while
networks and disks are still there. systemd would send SIGTERM to all processes only after these are gone
(systemd-shutdown(8)). If just the service is stopped or restarted, containers keep running.
"""

from __future__ import annotations

import os
import subprocess
import sys

from runtime.client import Client
from runtime.client.endpoint import EngineAddress
from runtime.errors import SkiffError
from runtime.paths import Paths


def main() -> None:
    """See the module; systemd does not set `$MAINPID` if the engine has exited by itself (systemd.service(5))."""
    if not os.environ.get("MAINPID") or not _goes_down():
        return
    paths = Paths.from_environment(os.environ, os.getuid())
    try:
        Client(EngineAddress(path=str(paths.engine_socket)), starts=False).stop_engine(shutdown=True)
    except SkiffError as error:
        sys.exit(f"containers can't be stopped before the shutdown: {error}")


def _goes_down() -> bool:
    scope = [] if os.getuid() == 0 else ["--user"]
    state = subprocess.run(["systemctl", *scope, "is-system-running"], capture_output=True, text=True, check=False)
    return state.stdout.strip() == "stopping"


if __name__ == "__main__":
    main()
