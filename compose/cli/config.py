"""config: the whole model as it is understood, or one aspect of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compose.cli.context import Globals
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.spec import Project

Services = Annotated[list[str] | None, typer.Argument(help="Services; all when none is named")]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def config(
        ctx: typer.Context,
        services: Services = None,
        format: Annotated[str, typer.Option("--format", help="yaml or json")] = "yaml",
        show_services: Annotated[bool, typer.Option("--services", help="Names of services")] = False,
        show_volumes: Annotated[bool, typer.Option("--volumes", help="Names of volumes")] = False,
        show_networks: Annotated[bool, typer.Option("--networks", help="Names of networks")] = False,
        show_images: Annotated[bool, typer.Option("--images", help="Names of images")] = False,
        show_profiles: Annotated[bool, typer.Option("--profiles", help="Names of profiles")] = False,
        show_hash: Annotated[str, typer.Option("--hash", help="Config hash of a service, or of all: *")] = "",
        show_environment: Annotated[
            bool, typer.Option("--environment", help="The environment of interpolation")
        ] = False,
        no_interpolate: Annotated[bool, typer.Option("--no-interpolate", help="Keep variables")] = False,
        no_normalize: Annotated[bool, typer.Option("--no-normalize", help="Leave out what is implied")] = False,
        no_path_resolution: Annotated[bool, typer.Option("--no-path-resolution", help="Keep relative paths")] = False,
        no_consistency: Annotated[bool, typer.Option("--no-consistency", help="Do not check consistency")] = False,
        show_variables: Annotated[bool, typer.Option("--variables", help="Variables that the files mention")] = False,
        provenance: Annotated[
            bool, typer.Option("--provenance", help="Where each value stands, and what it overrode")
        ] = False,
        explain: Annotated[str, typer.Option("--explain", help="Where a variable could come from, and what won")] = "",
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only check")] = False,
        output: Annotated[str, typer.Option("--output", "-o", help="File to write")] = "",
    ) -> None:
        """Check the files and show the model they make."""
        common: Globals = ctx.obj
        project = common.project(
            interpolate=not no_interpolate,
            normalize=not no_normalize,
            resolve_paths=not no_path_resolution,
            check_consistency=not no_consistency,
            provenance=provenance,
        )
        model = project.model()
        if services:
            for name in services:
                if name not in model["services"]:
                    raise SkiffError(f"no such service: {name}", f"services: {', '.join(model['services'])}")
            model["services"] = {name: model["services"][name] for name in services}
        if quiet:
            return
        if explain:
            text = "".join(_explanation(project, explain))
        elif show_variables:
            text = _variables(project)
        elif provenance:
            text = "".join(_provenance(project))
        elif show_services or show_volumes or show_networks:
            section = "services" if show_services else "volumes" if show_volumes else "networks"
            text = "".join(f"{name}\n" for name in model.get(section) or {})
        elif show_images:
            text = "".join(f"{s.get('image') or f'{project.name}-{n}'}\n" for n, s in model["services"].items())
        elif show_profiles:
            every = {**{n: s.config for n, s in project.disabled_services.items()}, **model["services"]}
            text = "".join(f"{one}\n" for one in sorted({p for s in every.values() for p in s.get("profiles") or ()}))
        elif show_hash:
            text = "".join(_hashes(model, show_hash))
        elif show_environment:
            text = "".join(f"{key}={value}\n" for key, value in sorted(project.environment.items()))
        else:
            text = _whole(model, format)
            if not no_interpolate:
                # what is read again is interpolated again
                text = text.replace("$", "$$")
        _write(text, output)


def _explanation(project: Project, name: str) -> Iterator[str]:
    """Yield every place that sets variable `name`, the winner first, and every place that uses it."""
    origins = project.origins.get(name) or ()
    for number, (origin, value) in enumerate(origins):
        verdict = "this one won: the first that sets a variable counts" if number == 0 else "not used"
        yield f"{name}={value}  from {origin} ({verdict})\n"
    if not origins:
        yield f"{name} is set nowhere: neither in the environment nor in {', '.join(project.env_files) or 'a .env file'}\n"
    for variable in project.variables:
        if variable.name == name:
            default = f", default {variable.default!r}" if variable.default else ""
            yield f"used at {variable.place}{', required' if variable.required else ''}{default}\n"


def _variables(project: Project) -> str:
    from compose.render.table import table

    rows = {
        variable.name: (variable.name, str(variable.required).lower(), variable.default, variable.alternative)
        for variable in sorted(project.variables)
    }
    return table(("NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"), list(rows.values())) + "\n"


def _provenance(project: Project) -> Iterator[str]:
    for path, (winner, *overridden) in sorted(project.sources.items()):
        over = f" (overrides {', '.join(map(str, overridden))})" if overridden else ""
        yield f"{path}: {winner}{over}\n"


def _hashes(model: Mapping[str, Any], wanted: str) -> Iterator[str]:
    from compose.plan.project import config_hash

    for name, service in model["services"].items():
        if wanted == "*" or name in wanted.split(","):
            yield f"{name} {config_hash(service)}\n"


def _whole(model: Mapping[str, Any], format: str) -> str:
    from compose.spec.encode import printed

    shown = printed(model)
    if format == "json":
        return json.dumps(shown, indent=2, ensure_ascii=False) + "\n"
    if format != "yaml":
        raise SkiffError(f'unsupported format "{format}"', "write --format yaml or --format json")
    import yaml

    text: str = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
    return text


def _write(text: str, output: str) -> None:
    if not output:
        sys.stdout.write(text)
        return
    part = f"{output}.part"
    with open(part, "w") as file:
        file.write(text)
    os.replace(part, output)
