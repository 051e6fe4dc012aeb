"""Image references and digests (OCI distribution specification; Docker's familiar names)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from runtime.errors import BadRequestError

DEFAULT_DOMAIN, DEFAULT_NAMESPACE, DEFAULT_TAG = "docker.io", "library", "latest"
LONGEST_NAME = 255
DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
"""Hex digits of the registered algorithms (OCI image specification, "Digests")."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HEX = re.compile(r"[0-9a-f]+")
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")


@dataclass(frozen=True)
class Reference:
    """A name for an image: where it is (`domain`, `path`), and which one (`tag` or `digest`)."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Return the reference that `text` names, in full ("busybox" is docker.io/library/busybox:latest).

        Raises BadRequestError when it is none.
        """
        rest, at, digest = text.partition("@")
        if at:
            check_digest(digest, text)
        first, slash, remainder = rest.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
            domain, path = first, remainder
        else:
            domain, path = DEFAULT_DOMAIN, rest
        if domain == "index.docker.io":
            domain = DEFAULT_DOMAIN
        path, colon, tag = path.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise BadRequestError(f"invalid reference format: {text}: the tag is malformed")
        if path != path.lower():
            shown = f"{DEFAULT_NAMESPACE}/{path}" if domain == DEFAULT_DOMAIN and "/" not in path else path
            raise BadRequestError(f"invalid reference format: repository name ({shown}) must be lowercase")
        if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain):
            raise BadRequestError(f"invalid reference format: {text}", "write NAME[:TAG], like debian:bookworm-slim")
        if domain == DEFAULT_DOMAIN and "/" not in path:
            if len(path) == DIGEST_LENGTHS["sha256"] and _HEX.fullmatch(path):
                raise BadRequestError(
                    f"invalid repository name ({path}), cannot specify 64-byte hexadecimal strings", "it would be an ID"
                )
            path = f"{DEFAULT_NAMESPACE}/{path}"
        if len(domain) + 1 + len(path) > LONGEST_NAME:
            raise BadRequestError(
                f"invalid reference format: {text[:40]}…: repository name must not be more than {LONGEST_NAME} characters"
            )
        return cls(domain, path, tag or (None if digest else DEFAULT_TAG), digest or None)

    @property
    def name(self) -> str:
        """The repository as Docker shows it: without the default domain and namespace."""
        if self.domain != DEFAULT_DOMAIN:
            return f"{self.domain}/{self.path}"
        namespace, _, image = self.path.partition("/")
        return image if namespace == DEFAULT_NAMESPACE and "/" not in image else self.path

    @property
    def familiar(self) -> str:
        """The reference as Docker shows it."""
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.domain}/{self.path}{tag}" + (f"@{self.digest}" if self.digest else "")

    def with_digest(self, digest: str) -> Reference:
        """Return the same repository at `digest`."""
        return replace(self, tag=None, digest=digest)


def is_whole(text: str) -> bool:
    """Whether a name for images means one of them: it has a tag or a digest."""
    return "@" in text or ":" in text.rpartition("/")[2]


def check_digest(digest: str, text: str) -> None:
    """Raise BadRequestError when `digest` is not one of a known algorithm; `text` is where it stands."""
    algorithm, _, encoded = digest.partition(":")
    if len(encoded) != DIGEST_LENGTHS.get(algorithm) or not _HEX.fullmatch(encoded):
        raise BadRequestError(
            f"invalid reference format: {text}: the digest is malformed", "write sha256: and 64 hex digits"
        )


def registry_domain(address: str) -> str:
    """Return the domain of a server address as `docker login` writes it: a host, or a URL; empty is Docker's own."""
    host = address.partition("://")[2] if "://" in address else address
    host = host.partition("/")[0]
    return DEFAULT_DOMAIN if host in ("", "index.docker.io", "registry-1.docker.io") else host
