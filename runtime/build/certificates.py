"""The caller's CA certificates in build steps: for networks where a proxy of the house ends TLS.

A step sees them in a file of its own, named by the variables that most programs look at, and by a configuration of apt's.
The image's own bundle stays as it is: packages that update it replace that file, which a mount in its place would prevent.
Nothing of it is part of the image or of a cache's key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

BUNDLE = "/run/skiff/certificates.pem"
APT_CONFIGURATION = "/run/skiff/apt.conf"
VARIABLES = (
    "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE", "DENO_CERT",
)  # fmt: skip
"""OpenSSL's (and Go's, Ruby's and Python's), curl's, requests', pip's, Node's, git's, Cargo's, the AWS CLI's, Deno's."""

_FAILURE = re.compile(
    r"certificate verify failed|self[- ]signed certificate|unable to get local issuer certificate"
    r"|signed by unknown authority|SSL certificate problem|UNABLE_TO_(?:VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT)"
    r"|certificate (?:is|was) not trusted|SELF_SIGNED_CERT_IN_CHAIN|invalid peer certificate: UnknownIssuer",
    re.IGNORECASE,
)


def files(bundle: bytes) -> dict[str, bytes]:
    """Return what a step sees: contents by path."""
    apt = f'Acquire::https::CAInfo "{BUNDLE}";\n'
    return {BUNDLE: bundle, APT_CONFIGURATION: apt.encode()}


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that name them, but for those that the step's `variables` have already."""
    named = {**dict.fromkeys(VARIABLES, BUNDLE), "APT_CONFIG": APT_CONFIGURATION}
    return {name: path for name, path in named.items() if name not in variables}


def is_missing(lines: Iterable[str]) -> bool:
    """Whether the output of a command says that a server's certificate is not trusted."""
    return any(_FAILURE.search(line) for line in lines)
