"""What an engine without root knows about its namespaces."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.paths import Paths

VARIABLE = "SKIFF_ROOTLESS"
RANGES, ONE_USER = "ranges", "one user"
LONGEST_ANSWER = 4096
ANSWER_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Rootless:
    """The namespaces of an engine without root; `has_ranges`: whether more than one user is mapped."""

    paths: Paths
    has_ranges: bool

    @classmethod
    def of(cls, paths: Paths, environment: Mapping[str, str]) -> Rootless | None:
        """Return the namespaces by `environment`, None if the engine runs as real root."""
        value = environment.get(VARIABLE)
        return cls(paths, value == RANGES) if value else None

    def find_holder(self, protocol: str, port: int) -> str:
        """Like `runtime.linux.ports.holder`, asked of the host-side process: it can't be seen from inside."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.settimeout(ANSWER_TIMEOUT_S)
            try:
                link.connect(str(self.paths.host_socket))
                link.send(json.dumps({"do": "holder", "protocol": protocol, "port": port}).encode())
                return link.recv(LONGEST_ANSWER).decode() or "another process"
            except OSError:
                return "another process"
