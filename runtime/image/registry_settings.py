"""How registries are reached: mirrors of Docker's own, and registries without (trusted) TLS.

Read from the file that the docker daemon's administrators know: `registry-mirrors` and `insecure-registries` of
/etc/docker/daemon.json, or of the file that $SKIFF_REGISTRIES names (Docker documentation, "Daemon configuration file").
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runtime.errors import BadRequestError
from runtime.image.registry_http import is_loopback

VARIABLE = "SKIFF_REGISTRIES"
DEFAULT = Path("/etc/docker/daemon.json")


@dataclass(frozen=True)
class RegistrySettings:
    """Addresses (URLs) of mirrors of Docker's registry, and hosts (`host[:port]`) or networks (CIDR) without TLS."""

    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> RegistrySettings:
        """Read the settings; there are none without the file. Raises BadRequestError for a file that is malformed."""
        path = Path(environ[VARIABLE]) if environ.get(VARIABLE) else DEFAULT
        try:
            return cls.parse(path.read_text(), str(path))
        except FileNotFoundError:
            if path == DEFAULT:
                return cls()
            raise BadRequestError(f"{path}, which ${VARIABLE} names, does not exist", "write it, or unset it") from None
        except OSError as error:
            raise BadRequestError(f"{path} can't be read: {error.strerror}") from error

    @classmethod
    def parse(cls, text: str, name: str) -> RegistrySettings:
        """Return the settings of a file's `text`; `name` is the file's, for errors. Raises BadRequestError."""
        try:
            document = json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise BadRequestError(f"{name} is no JSON: {error}", "correct it") from None
        found = {}
        for key in ("registry-mirrors", "insecure-registries"):
            value = (document.get(key) if isinstance(document, dict) else ()) or ()
            if not isinstance(document, dict) or not all(isinstance(one, str) for one in value):
                raise BadRequestError(f"{name}: {key} is not a list of texts", f'write "{key}": ["..."]')
            found[key] = tuple(value)
        for mirror in found["registry-mirrors"]:
            address = urlsplit(mirror)
            if address.scheme not in ("http", "https") or not address.hostname or address.query or address.fragment:
                raise BadRequestError(f"{name}: invalid mirror {mirror!r}", "write https://HOST[:PORT]")
        return cls(found["registry-mirrors"], found["insecure-registries"])

    def is_insecure(self, host: str) -> bool:
        """Return whether `host` (with its port, where it has one) is spoken to without trusted TLS.

        This machine always is: there is no wire to listen on.
        """
        address = urlsplit(f"//{host}")
        name = address.hostname or host
        if is_loopback(name) or host in self.insecure or name in self.insecure:
            return True
        try:
            ip = ipaddress.ip_address(name)
        except ValueError:
            return False
        return any(_contains(network, ip) for network in self.insecure)


def _contains(network: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return ip in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
