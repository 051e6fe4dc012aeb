"""Running the programs that provide services (docker compose, "docs/extension.md")."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compose.execute import plugins
from compose.plan.parts import Provider
from compose.plan.project import DesiredProject
from compose.plan.providing import Variables, flags
from compose.plan.service import Service
from runtime.errors import SkiffError

DOING = {"up": "create", "down": "remove", "stop": "stop"}
LAST_LINES = 10


def run_provider(
    target: DesiredProject, name: str, command: str, environ: Mapping[str, str], report: Callable[[str], None]
) -> Variables:
    """Run `command` ("up", "down" or "stop") of the provider of the service `name`; return the variables it sets.

    `report` gets its messages. Raises SkiffError with the provider's own reason when it fails.
    """
    service = target.services[name]
    program, used = _program(service, environ)
    environment = {**target.environment, **environ}
    metadata = _metadata(program, environment)
    arguments = flags(name, used, metadata, command)
    line = [program, "compose", f"--project-name={target.name}", command, *arguments, name]
    with tempfile.TemporaryFile() as errors:
        process = _started(line, environment, errors)
        with process:
            try:
                variables = _conversation(process, service, report)
            except BaseException:
                process.kill()
                raise
            code = process.wait()
        if code:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()[-LAST_LINES:]
            shown = "".join(f"\n      {each}" for each in said)
            raise SkiffError(
                f'service "{name}": failed to {DOING[command]} service provider: exit status {code}',
                f"it was called as `{' '.join(line)}`" + (f" and said:{shown}" if shown else ""),
            )
    return variables


def cares_for_stop(target: DesiredProject, name: str, environ: Mapping[str, str]) -> bool:
    """Whether the provider of the service `name` has a command to stop it: most know "up" and "down" alone."""
    program, _ = _program(target.services[name], environ)
    return "stop" in _metadata(program, {**target.environment, **environ})


def _program(service: Service, environ: Mapping[str, str]) -> tuple[str, Provider]:
    assert service.provider is not None  # the caller selected services that have one
    return plugins.provider(service.provider.type, environ), service.provider


def _started(line: Sequence[str], environment: Mapping[str, str], errors: Any) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    except OSError as error:
        raise SkiffError(
            f"{line[0]} can't be run: {error.strerror}", "correct `provider.type`, or the program"
        ) from error


def _metadata(program: str, environment: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what a provider says about its flags, {} if it does not."""
    try:
        answer = subprocess.run(
            [program, "compose", "metadata"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        found = json.loads(answer.stdout) if not answer.returncode else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _conversation(process: subprocess.Popen[str], service: Service, report: Callable[[str], None]) -> Variables:
    """Read a provider's messages to their end, and answer its requests. Raises SkiffError for its error."""
    assert process.stdin is not None  # pipes
    assert process.stdout is not None
    own: dict[str, str] = {}
    plain: dict[str, str] = {}
    for line in filter(str.strip, process.stdout):
        try:
            message = json.loads(line)
            kind, text = message["type"], str(message.get("message") or "")
        except (ValueError, KeyError, TypeError):
            raise _invalid(service.name, line.strip()) from None
        key, equals, value = text.partition("=")
        if kind == "error":
            raise SkiffError(f'service "{service.name}": {text}')
        if kind == "info":
            report(text.strip().partition("\n")[0])
        elif kind in ("setenv", "rawsetenv") and equals:
            (own if kind == "setenv" else plain)[key] = value
        elif kind == "get-service-config":
            process.stdin.write(json.dumps(service.document) + "\n")
            process.stdin.flush()
        elif kind != "debug":
            raise _invalid(service.name, line.strip())
    return Variables(own, plain)


def _invalid(name: str, line: str) -> SkiffError:
    return SkiffError(
        f'service "{name}": invalid response from plugin: {line}',
        "a provider writes a JSON object a line, with a type and a message",
    )
