"""Models that services use, by Docker's model runner: a plugin of the Docker command line, which is no part of Skiff."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compose.execute.plugins import model_runner
from compose.plan.parts import ModelUse
from compose.plan.project import DesiredProject
from runtime.errors import SkiffError


def used_models(target: DesiredProject, names: Sequence[str]) -> list[str]:
    """Return the models of the project that the services `names` use."""
    return sorted({ref for name in names for ref in target.services[name].models})


def with_models(
    target: DesiredProject, names: Sequence[str], environ: Mapping[str, str], report: Callable[[str, str], None]
) -> DesiredProject:
    """Pull and configure the models of the services `names`; return `target` with their addresses in the environment.

    `report(model, state)` is called for each. Raises SkiffError where there is no model runner, and when it fails.
    """
    used = used_models(target, names)
    runner = _Runner(model_runner(environ), {**target.environment, **environ})
    declared = {ref: target.section("models")[ref] for ref in used}
    here = {tag for model in runner.json("ls", "--json") for tag in model.get("tags") or ()}
    for ref, model in declared.items():
        if model["model"] not in here:
            report(ref, "Pulling")
            runner.run("pull", model["model"])
            report(ref, "Pulled")
        size = ["--context-size", str(model["context_size"])] if model.get("context_size") else []
        runtime = ["--", *model["runtime_flags"]] if model.get("runtime_flags") else []
        runner.run("configure", *size, model["model"], *runtime)
        report(ref, "Configured")
    endpoint = str(runner.json("status", "--json").get("endpoint") or "")
    services = [target.services[name] for name in names]
    return target.with_services(
        *(service.with_environment(_variables(service.models, declared, endpoint)) for service in services)
    )


def _variables(uses: Mapping[str, ModelUse], declared: Mapping[str, Any], endpoint: str) -> dict[str, str]:
    """Return the variables with the names and addresses of a service's models (Compose Specification, "models")."""
    found = {}
    for ref, how in uses.items():
        prefix = ref.upper().replace("-", "_")
        found[how.model_variable or f"{prefix}_MODEL"] = declared[ref]["model"]
        found[how.endpoint_variable or f"{prefix}_URL"] = endpoint
    return found


class _Runner:
    """The model runner's command line."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self._program = program
        self._environment = environment

    def run(self, *arguments: str) -> str:
        """Run a command of it and return what it prints. Raises SkiffError."""
        done = subprocess.run(
            [self._program, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise SkiffError(
                f"docker model {arguments[0]} failed: exit status {done.returncode}", said or "it said nothing"
            )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run a command of it and return the JSON that it prints. Raises SkiffError."""
        text = self.run(*arguments)
        try:
            return json.loads(text)
        except ValueError:
            raise SkiffError(f"docker model {arguments[0]} printed no JSON", "update the plugin docker-model") from None
