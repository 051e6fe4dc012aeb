"""`python -m runtime.install.stopping`: what the service does before the engine is told to stop.

When the machine goes down (for a user: when the user's services do), containers are asked to end as they want to be asked,
while networks and disks are still there. systemd would send SIGTERM to everybody only after all that was taken away
(systemd-shutdown(8)). A service that is stopped or restarted for itself leaves them running.
"""

from __future__ import annotations

import os
import subprocess
import sys

from runtime.client import Client
from runtime.client.endpoint import Endpoint
from runtime.errors import SkiffError
from runtime.paths import Paths


def main() -> None:
    """See the module; `$MAINPID` is left out by systemd where the engine has ended by itself (systemd.service(5))."""
    if not os.environ.get("MAINPID") or not _goes_down():
        return
    paths = Paths.from_environment(os.environ, os.getuid())
    try:
        Client(Endpoint(path=str(paths.engine_socket)), starts=False).stop_engine(shutdown=True)
    except SkiffError as error:
        sys.exit(f"containers are ended with the machine: {error}")


def _goes_down() -> bool:
    scope = [] if os.getuid() == 0 else ["--user"]
    state = subprocess.run(["systemctl", *scope, "is-system-running"], capture_output=True, text=True, check=False)
    return state.stdout.strip() == "stopping"


if __name__ == "__main__":
    main()
