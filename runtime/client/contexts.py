"""Contexts of the docker command line: $DOCKER_CONTEXT names one of its store (docker CLI, cli/context/store)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import SkiffError

DEFAULT = "default"


def context_host(environ: Mapping[str, str]) -> str:
    """Return where the engine of $DOCKER_CONTEXT is, as -H has it; "" where none is named. Raises SkiffError."""
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
        raise SkiffError(f"context {name!r} can't be read: {path}", "mend or remove it: `docker context rm`") from error
    if Path(folder, "contexts", "tls", id, "docker").is_dir():
        raise SkiffError(f"context {name!r} wants TLS, which is not supported", "reach the engine over a unix socket")
    return str(host)
