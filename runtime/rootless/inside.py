"""What an engine in a user's namespaces knows of them."""

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
    """The namespaces of an engine; `has_ranges` says whether they have more users than one."""

    paths: Paths
    has_ranges: bool

    @classmethod
    def of(cls, paths: Paths, environment: Mapping[str, str]) -> Rootless | None:
        """Return what `environment` tells; None for root's own engine."""
        told = environment.get(VARIABLE)
        return cls(paths, told == RANGES) if told else None

    def find_holder(self, protocol: str, port: int) -> str:
        """Return who has a port of the host, as `runtime.linux.ports.holder` does: from here nobody's can be seen."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.settimeout(ANSWER_TIMEOUT_S)
            try:
                link.connect(str(self.paths.host_socket))
                link.send(json.dumps({"do": "holder", "protocol": protocol, "port": port}).encode())
                return link.recv(LONGEST_ANSWER).decode() or "another process"
            except OSError:
                return "another process"
