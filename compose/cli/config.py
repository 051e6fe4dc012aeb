"""`config`: shows the whole model of the files, or one aspect of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compose.cli.context import Globals
from compose.cli.output import write_whole
from runtime.errors import SkiffError

if TYPE_CHECKING:
    from compose.loading import Project

Services = Annotated[
    list[str] | None, typer.Argument(help="Services, with what they depend on; all when none is named")
]
COLUMN_WIDTH, COLUMN_GAP = 20, 3


def config(
    ctx: typer.Context,
    services: Services = None,
    format: Annotated[str, typer.Option("--format", help="yaml or json")] = "",
    show_services: Annotated[bool, typer.Option("--services", help="Names of services")] = False,
    show_volumes: Annotated[bool, typer.Option("--volumes", help="Names of volumes")] = False,
    show_networks: Annotated[bool, typer.Option("--networks", help="Names of networks")] = False,
    show_models: Annotated[bool, typer.Option("--models", help="The models that services use")] = False,
    show_images: Annotated[bool, typer.Option("--images", help="Names of images")] = False,
    show_profiles: Annotated[bool, typer.Option("--profiles", help="Names of profiles")] = False,
    show_hash: Annotated[str, typer.Option("--hash", help="Config hash of services, or of all: *")] = "",
    show_environment: Annotated[bool, typer.Option("--environment", help="The variables of interpolation")] = False,
    no_interpolate: Annotated[bool, typer.Option("--no-interpolate", help="Keep variables")] = False,
    no_normalize: Annotated[bool, typer.Option("--no-normalize", help="Omit what is implied")] = False,
    no_path_resolution: Annotated[bool, typer.Option("--no-path-resolution", help="Keep relative paths")] = False,
    no_env_resolution: Annotated[bool, typer.Option("--no-env-resolution", help="Do not read env files")] = False,
    no_consistency: Annotated[bool, typer.Option("--no-consistency", help="Do not check consistency")] = False,
    resolve_image_digests: Annotated[
        bool, typer.Option("--resolve-image-digests", help="Pin images to digests")
    ] = False,
    lock_image_digests: Annotated[
        bool, typer.Option("--lock-image-digests", help="An override file that pins images to digests")
    ] = False,
    show_variables: Annotated[bool, typer.Option("--variables", help="Variables that the files mention")] = False,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Where each value is set, and what it overrode")
    ] = False,
    explain: Annotated[str, typer.Option("--explain", help="Where a variable could be set, and which place won")] = "",
    schema: Annotated[bool, typer.Option("--schema", help="The schema of Compose files, for editors")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only check")] = False,
    output: Annotated[str, typer.Option("--output", "-o", help="File to write")] = "",
) -> None:
    """Check the files and print the resulting model."""
    if schema:
        from compose.loading.validation import schema_text

        write_whole([schema_text().encode()], output)
        return
    common: Globals = ctx.obj
    is_about_variables = show_variables or bool(explain)
    is_listing = show_services or show_volumes or show_networks or show_models or bool(show_hash)
    is_without_variables = is_listing or is_about_variables or show_images or show_profiles or show_environment
    pins = resolve_image_digests or lock_image_digests
    if services and (show_variables or (no_interpolate and not is_listing)):
        flag = "--variables" if show_variables else "--no-interpolate"
        common.warn(f"WARN {flag} shows the whole model: no service is selected")
    project = common.loader.project(
        interpolate=not (no_interpolate or is_about_variables),
        # with --compatibility nothing is implied either, as docker compose has it
        normalize=not (no_normalize or common.source.compatibility),
        resolve_paths=not no_path_resolution,
        check_consistency=not (no_consistency or is_about_variables),
        resolve_environment=not (no_env_resolution or is_without_variables),
        provenance=provenance,
        nested_extensions=format in ("", "yaml"),
        services=() if is_listing else tuple(services or ()),
    )
    if quiet:
        return
    model = project.model()
    if explain:
        from compose.render.explanation import explanation

        text = "".join(explanation(project, explain))
    elif show_variables:
        text = _variables(project, format)
    elif provenance:
        text = "".join(_provenance(project))
    elif show_services:
        text = _list(_ordered(model["services"], no_interpolate))
    elif show_volumes or show_networks:
        text = _list(model.get("volumes" if show_volumes else "networks") or {})
    elif show_models:
        text = _list(one["model"] for one in (model.get("models") or {}).values() if one.get("model"))
    elif show_hash:
        text = "".join(_hashes(project, show_hash))
    elif show_profiles:
        every = (*model["services"].values(), *(service.config for service in project.disabled_services.values()))
        text = _list(sorted({one for service in every for one in service.get("profiles") or ()}))
    elif show_images:
        text = _list(one.get("image") or f"{project.name}-{name}" for name, one in model["services"].items())
    elif show_environment:
        text = _list(sorted(f"{key}={value}" for key, value in project.environment.items()))
    else:
        if pins:
            model = _pinned(common, model, lock_image_digests)
        from compose.render.model_text import model_text, raw_text

        if no_interpolate:
            text = raw_text(model, format or "yaml")
        else:
            # what is read again is interpolated again
            kept = {} if lock_image_digests else project.nested_extensions
            text = model_text(model, format or "yaml", kept).replace("$", "$$")
    write_whole([text.encode(errors="surrogateescape")], output)


def _list(names: Iterable[str]) -> str:
    return "".join(f"{name}\n" for name in names)


def _ordered(services: Mapping[str, Any], is_raw: bool) -> Iterable[str]:
    """Return the names of services, each after those it depends on."""
    from compose.loading.selection import in_order

    return services if is_raw else in_order(services, list(services))


def _pinned(common: Globals, model: Mapping[str, Any], is_lock: bool) -> dict[str, Any]:
    from compose.stack.digests import digest, locked, resolved

    pinned = resolved(model, lambda name: digest(common.client, name))
    return locked(pinned) if is_lock else pinned


def _variables(project: Project, format: str) -> str:
    """Return the variables of the files as the reference does: a table, JSON or YAML."""
    found: dict[str, tuple[str, str, str, bool]] = {}
    for variable in sorted(project.variables, key=lambda each: (each.name, each.place)):
        _, default, alternative, required = found.get(variable.name, ("", "", "", False))
        found[variable.name] = (
            variable.name,
            default or variable.default,
            alternative or variable.alternative,
            required or variable.required,
        )
    if format == "json":
        keys = ("Name", "DefaultValue", "PresenceValue", "Required")
        rows = {name: dict(zip(keys, row, strict=True)) for name, row in found.items()}
        return json.dumps(rows, indent=4, ensure_ascii=False) + "\n"
    if format == "yaml":
        from compose.loading.yaml_text import yaml_text

        keys = ("name", "defaultvalue", "presencevalue", "required")
        return yaml_text({name: dict(zip(keys, row, strict=True)) for name, row in found.items()})
    titles = ("NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE")
    cells = [titles, *((name, str(required).lower(), *rest) for name, *rest, required in found.values())]
    widths = [max(COLUMN_WIDTH, COLUMN_GAP + max(len(row[column]) for row in cells)) for column in range(3)]
    return _list(
        "".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in cells
    )


def _provenance(project: Project) -> Iterator[str]:
    from compose.loading.problems import dotted

    for path, places in sorted(project.sources.items(), key=lambda each: [_sortable(step) for step in each[0]]):
        where = str(places[0]) if places else "default"
        over = f" (overrides {', '.join(map(str, places[1:]))})" if len(places) > 1 else ""
        yield f"{dotted(path)}: {where}{over}\n"


def _sortable(step: str | int) -> str:
    return f"{step:08}" if isinstance(step, int) else step


def _hashes(project: Project, wanted: str) -> Iterator[str]:
    from compose.plan.hashes import service_digest
    from compose.plan.platforms import with_default_platform
    from compose.plan.project import DesiredProject

    target = with_default_platform(DesiredProject(project.name, project.model()), project.environment)
    services = target.section("services")
    for name in sorted(services if wanted == "*" else wanted.split(",")):
        if name not in services:
            raise SkiffError(f"no such service: {name}", f"services: {', '.join(services) or 'none'}")
        yield f"{name} {service_digest(services[name])}\n"
