"""Mounts of configs and secrets that are files of the host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from compose.plan.content import FOLDERS
from compose.plan.project import Target
from runtime.errors import SkiffError


def file_mounts(target: Target, name: str) -> Iterator[dict[str, Any]]:
    """Yield mounts of the service's configs and secrets that come from files.

    Raises SkiffError for a file that is not there and for what is made elsewhere.
    """
    service = target.services[name]
    for kind, folder in FOLDERS.items():
        for use in service.get(kind) or ():
            declared = (target.model.get(kind) or {}).get(use["source"]) or {}
            what = f"{kind[:-1]} {use['source']!r}"
            if declared.get("external"):
                raise SkiffError(
                    f"service {name!r}: unsupported external {what}", "give it as a file, as content or a variable"
                )
            source = declared.get("file")
            if not source:
                continue
            if not os.path.exists(source):
                raise SkiffError(
                    f"service {name!r}: the file of {what} does not exist: {source}", "make it, or correct the path"
                )
            path = use.get("target") or use["source"]
            yield {
                "Type": "bind",
                "Source": source,
                "Target": path if path.startswith("/") else folder + path,
                "ReadOnly": True,
            }
