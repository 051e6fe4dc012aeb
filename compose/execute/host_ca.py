"""What of this machine builds may be given: its CA certificates and its proxies, where a proxy of the house ends TLS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runtime.errors import SkiffError

HOST_CA = "SKIFF_BUILD_HOST_CA"
"""Environment variable that gives them to every build, as `up --build` makes them."""
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",
)
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


def host_certificates(environ: Mapping[str, str]) -> bytes:
    """Return the CA certificates that this machine trusts (PEM): $SSL_CERT_FILE, or the distribution's bundle.

    Raises SkiffError when there are none.
    """
    named = environ.get("SSL_CERT_FILE")
    for path in (named,) if named else BUNDLES:
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SkiffError(f"the CA certificates in {path} can't be read: {error.strerror}") from error
    raise SkiffError(
        f"this machine has no CA certificates: {named or ', '.join(BUNDLES)}",
        "install ca-certificates, or name a file with $SSL_CERT_FILE",
    )


def host_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies of this machine as build arguments."""
    names = [name for stem in PROXIES for name in (stem, stem.upper())]
    return {name: environ[name] for name in names if environ.get(name)}
