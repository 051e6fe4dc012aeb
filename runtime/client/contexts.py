"""Contexts of the docker CLI: $DOCKER_CONTEXT names one of its context store (docker CLI, cli/context/store)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import SkiffError

DEFAULT = "default"


def context_host(environ: Mapping[str, str]) -> str:
    """Return the host of $DOCKER_CONTEXT in the format of -H; "" if it is not set. Raises SkiffError."""
    name = environ.get("DOCKER_CONTEXT") or DEFAULT
    if name == DEFAULT:
        return ""
    folder = environ.get("DOCKER_CONFIG") or str(Path(environ.get("HOME") or "/") / ".docker")
    id = hashlib.sha256(name.encode()).hexdigest()
    path = Path(folder, "contexts", "meta", id, "meta.json")
    try:
        document = json.loads(path.read_bytes())
        host = document["Endpoints"]["docker"]["Host"]
    except FileNotFoundError:
        raise SkiffError(
            f"context {name!r} does not exist", "`docker context ls` lists them; unset DOCKER_CONTEXT"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SkiffError(f"context {name!r} can't be read: {path}", "fix or remove it: `docker context rm`") from error
    if Path(folder, "contexts", "tls", id, "docker").is_dir():
        raise SkiffError(f"context {name!r} uses TLS, which is not supported", "use a unix socket instead")
    return str(host)
