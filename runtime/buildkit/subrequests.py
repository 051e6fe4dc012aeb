"""What is asked of a Dockerfile without building it: `docker build --check` and `--call=targets,outline`.

Source: BuildKit documentation, "Dockerfile frontend subrequests".
"""

from __future__ import annotations

import base64
import json
from typing import Any

from runtime.build import instructions as ins
from runtime.build.checking import check_dockerfile
from runtime.build.options import BuildOptions
from runtime.buildkit.frontend import ParsedDockerfile
from runtime.buildkit.rpc import UNIMPLEMENTED, RpcError
from runtime.buildkit.schema import message

SUBREQUESTS = ("frontend.lint", "frontend.targets", "frontend.outline", "frontend.subrequests.describe")


def answer_subrequest(wanted: str, source: ParsedDockerfile) -> Any:
    """Return the Result that answers the request `wanted` about a Dockerfile. Raises RpcError."""
    if wanted == "frontend.lint":
        document, text, code = _lint(source)
    elif wanted == "frontend.targets":
        document, text, code = _targets(source)
    elif wanted == "frontend.outline":
        document, text, code = _outline(source)
    elif wanted == "frontend.subrequests.describe":
        document = [{"name": name, "version": "1.0.0", "type": "rpc"} for name in SUBREQUESTS]
        text, code = "".join(f"{name}\n" for name in SUBREQUESTS), 0
    else:
        raise RpcError(UNIMPLEMENTED, f"unsupported request {wanted}")
    result = message("moby.buildkit.v1.frontend.Result")()
    result.metadata["result.json"] = json.dumps(document).encode()
    result.metadata["result.txt"] = text.encode()
    result.metadata["result.statuscode"] = str(code).encode()
    result.metadata["version"] = b"1.0.0"
    return result


def _lint(source: ParsedDockerfile) -> tuple[Any, str, int]:
    lint = check_dockerfile(source.parsed, BuildOptions())
    warnings = [
        {
            "ruleName": rule,
            "description": text,
            "detail": text,
            "location": {"ranges": [{"start": {"line": line}, "end": {"line": line}}]},
        }
        for rule, text, line in lint.found
    ]
    shown = "".join(f"WARNING: {rule}\n{text} (line {line})\n\n" for rule, text, line in lint.found)
    sources = [{"filename": source.name, "language": "Dockerfile", "data": base64.b64encode(source.data).decode()}]
    return (
        {"warnings": warnings or None, "sources": sources},
        shown or "Check complete, no warnings found.\n",
        int(bool(warnings)),
    )


def _targets(source: ParsedDockerfile) -> tuple[Any, str, int]:
    stages = source.parsed.stages
    last = len(stages) - 1
    targets = [
        {
            **({"name": stage.base.name} if stage.base.name else {}),
            **({"default": True} if number == last else {}),
            "base": stage.base.image,
        }
        for number, stage in enumerate(stages)
        if stage.base.name or number == last
    ]
    shown = "TARGET\n" + "".join(
        f"{one.get('name', '')}{' (default)' if one.get('default') else ''}\n" for one in targets
    )
    return {"targets": targets}, shown, 0


def _outline(source: ParsedDockerfile) -> tuple[Any, str, int]:
    stage = source.parsed.stages[-1]
    found = [one for one in stage.instructions if isinstance(one, ins.Arg)]
    arguments = [
        {"name": name, **({"value": default} if default is not None else {})}
        for one in found
        for name, default in one.arguments
    ]
    shown = "".join(f"{one['name']}\t{one.get('value', '')}\n" for one in arguments)
    return {"name": stage.base.name or "", "args": arguments}, f"BUILD ARG\tVALUE\n{shown}", 0
