"""Translates seccomp profiles in Docker's format to the OCI document's `linux.seccomp`. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from runtime.errors import BadRequestError
from runtime.linux.seccomp import RET, check
from runtime.oci.types import OciSeccomp, OciSeccompRule

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""uname's machine → the name in `includes.arches`."""


def parse(text: str, granted: Collection[str], machine: str, release: str) -> OciSeccomp:
    """Return `linux.seccomp` for the JSON profile `text` and a process with the capabilities `granted`.

    A rule applies if the process has all capabilities in `includes` and none in `excludes`, `machine` is one of the
    architectures, and the kernel `release` is at least `minKernel`. Raises BadRequestError on an invalid profile.
    """
    try:
        profile = json.loads(text)
        rules = [
            _rule(rule)
            for rule in profile.get("syscalls") or ()
            if _applies(rule, granted, ARCHITECTURES.get(machine, machine), _version(release))
        ]
        found: OciSeccomp = {"defaultAction": profile["defaultAction"], "syscalls": rules}
        if profile.get("defaultErrnoRet") is not None:
            found["defaultErrnoRet"] = int(profile["defaultErrnoRet"])
        check(found)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise BadRequestError(
            f"decoding seccomp profile failed: {error}", f"actions are {', '.join(RET)}; see Docker's seccomp profiles"
        ) from error
    return found


def _rule(rule: Mapping[str, Any]) -> OciSeccompRule:
    names = list(rule.get("names") or ())
    if rule.get("name"):
        names.append(rule["name"])
    found: OciSeccompRule = {"names": names, "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        found["errnoRet"] = int(rule["errnoRet"])
    if rule.get("args"):
        found["args"] = [
            {
                "index": int(one["index"]),
                "value": int(one["value"]),
                "valueTwo": int(one.get("valueTwo") or 0),
                "op": one["op"],
            }
            for one in rule["args"]
        ]
    return found


def _applies(rule: Mapping[str, Any], granted: Collection[str], machine: str, kernel: tuple[int, int]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    return (
        all(name in granted for name in includes.get("caps") or ())
        and not any(name in granted for name in excludes.get("caps") or ())
        and (not includes.get("arches") or machine in includes["arches"])
        and machine not in (excludes.get("arches") or ())
        and (not includes.get("minKernel") or kernel >= _version(includes["minKernel"]))
        and (not excludes.get("minKernel") or kernel < _version(excludes["minKernel"]))
    )


def _version(text: str) -> tuple[int, int]:
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return int(major), int(minor or 0)
