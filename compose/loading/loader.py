"""From files and an environment to the canonical project.

A load has eight stages. Their order is that of docker compose's loader, since it can be observed: what one stage changes
or rejects, the next ones see.

 1. discover      which files there are, and the variables of .env files, which may name the files
 2. read          per document: YAML with positions, variables replaced, schema check, short forms to long ones,
                  `extends`, `include`; documents are merged in their order
 3. defaults      what services may omit; checks of single values; paths become absolute
 4. enable        services whose profiles are off are set aside: they are checked, but imply nothing
 5. normalize     what the model implies: the default network, names of resources, dependencies by links and namespaces
 6. consistency   whether services, networks, volumes … that are mentioned exist
 7. select        services that were not asked for go, then resources that no service uses, then `env_file`s are read:
                  files of services that are left out need not exist
 8. encode        the printed form, attribute by attribute; a value of a wrong type is found here at the latest

Problems do not end the load at once: each stage removes what it has rejected, so that the next ones report what is wrong
elsewhere, and the first `raise_any` raises all of them together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from compose.errors import ConfigError
from compose.loading import canonical as forms
from compose.loading import normalize as rules
from compose.loading.document import Path, YamlDocument
from compose.loading.documents import Documents
from compose.loading.encode import encode_resource, encode_service, nested_extensions
from compose.loading.files import Environment, discover, normalize_name
from compose.loading.merging import Model
from compose.loading.model import SECTIONS, LoadedService, LoadOptions, Project, SourceLocation
from compose.loading.paths import resolve_paths
from compose.loading.problems import Problems, prune
from compose.loading.reader import Reader
from compose.loading.selection import enable, select, used
from compose.loading.service_files import ServiceFiles
from compose.loading.sources import Provenance, leaves
from compose.loading.template import TemplateError, substitute


def load(options: LoadOptions, environ: Mapping[str, str]) -> Project:
    """Return the project that `options` name. Raises ConfigError, ConfigErrors with all that is wrong."""
    environment = Environment(environ, options.working_directory)
    files, folder = discover(options, environment)
    sources = Provenance()
    problems = Problems(sources)
    home = environ.get("HOME", "")
    documents = Documents(options, problems)
    reader = Reader(options, documents, problems, sources, home)
    written = [each for file in files for each in documents.of(file)]
    name = _project_name(options, written, folder, environment)
    given = options.project_name or environment.lookup("COMPOSE_PROJECT_NAME")
    is_named_by_folder = not given and not any(document.content.get("name") for document in written)
    environment.set("COMPOSE_PROJECT_NAME", name, "the project's name")
    model = reader.model(files, folder, environment)
    if not model and not problems.errors:
        raise ConfigError("empty compose file", files[0] if files else "", hint="begin with `services:`")
    if problems.is_stopped:
        problems.raise_any()
    forms.defaults(model)
    if options.interpolate:
        rules.check_resources(model, problems)
    if options.resolve_paths:
        resolve_paths(model, folder, home)
    forms.resolve_environment(model, environment.lookup)
    enabled, disabled = dict(model.get("services") or {}), dict[str, Model]()
    values = forms.taken_values(model)
    extensions: Mapping[Path, object] = {}
    if options.interpolate:
        enabled, disabled = enable(enabled, _active_profiles(options, environment), options.services)
    model["services"] = enabled
    if options.normalize:
        rules.normalize(model, name, environment.lookup)
    if options.check_consistency and options.interpolate:
        rules.check_consistency(model, disabled, problems)
    if options.interpolate:
        for key, service in disabled.items():
            encode_service(key, service, problems)  # report its problems even while its profile is off
        _select(options, model, disabled)
        # files of services that are left out need not exist
        files_of = ServiceFiles(problems, sources, environment, options.working_directory)
        files_of.read(
            model["services"],
            environment=options.resolve_environment,
            keep_label_files=options.keep_label_files,
        )
        extensions = nested_extensions(model) if options.nested_extensions else {}
        _encode(model, problems)
    problems.raise_any()
    model.pop("name", None)
    return Project(
        name=name,
        working_directory=folder,
        is_named_by_folder=is_named_by_folder,
        services={key: LoadedService(key, one) for key, one in model["services"].items()},
        disabled_services={key: LoadedService(key, service) for key, service in disabled.items()},
        extensions={key: value for key, value in model.items() if key.startswith("x-")},
        files=tuple(files),
        env_files=tuple(environment.files),
        environment=environment.values,
        values=values,
        warnings=(*environment.warnings, *_warnings(documents, reader)),
        variables=tuple(documents.variables),
        sources=_provenance(model, name, sources) if options.provenance else {},
        nested_extensions=extensions,
        origins=_origins(environment),
        included_origins={file: _origins(local) for file, local in reader.inclusions.items()},
        **{section: model.get(section) or {} for section in SECTIONS},
    )


def _select(options: LoadOptions, model: Model, disabled: Model) -> None:
    """Remove, in place, what the selected services don't need."""
    if options.services:
        for key in set(model["services"]) - (chosen := select(model["services"], options.services)):
            disabled[key] = model["services"].pop(key)
        for service in model["services"].values():
            for key in set(service.get("depends_on") or ()) - chosen:
                del service["depends_on"][key]
    if not options.all_resources:
        for section, names in used(model["services"]).items():
            if section in model:
                model[section] = {key: one for key, one in (model[section] or {}).items() if key in names}


def _encode(model: Model, problems: Problems) -> None:
    """Encode everything, in place, into the form that is printed."""
    problems.model = model
    for path in problems.settle():
        prune(model, path)
    model["services"] = {key: encode_service(key, one or {}, problems) for key, one in model["services"].items()}
    for section in SECTIONS:
        resources = (model.get(section) or {}).items()
        model[section] = {key: encode_resource(section, key, one, problems) for key, one in resources}


def _warnings(documents: Documents, reader: Reader) -> Iterable[str]:
    for place in documents.obsolete:
        yield f'{place}: "version" has no effect: leave it out'
    for place, key in reader.ignored.items():
        yield f'{place}: "{key}" is not known here and has no effect'
    for name, places in documents.unset.items():
        first, *further = places
        also = f" (also at {len(further)} further place{'s' if len(further) > 1 else ''})" if further else ""
        yield f'{first}: variable "{name}" is not set, an empty string stands in for it{also}'


def _origins(environment: Environment) -> dict[str, tuple[tuple[str, str], ...]]:
    return {key: tuple(found) for key, found in environment.origins.items()}


def _provenance(model: Model, name: str, sources: Provenance) -> dict[Path, tuple[SourceLocation, ...]]:
    """Return by path where each value of the model stands: the place that won first, then those it overrode."""
    shown = {"name": name, **{key: value for key, value in model.items() if value not in (None, {}, [])}}
    return {path: sources.places(path, shown) for path in leaves(shown)}


def _project_name(
    options: LoadOptions, documents: Sequence[YamlDocument], folder: str, environment: Environment
) -> str:
    """Return the project's name: -p, COMPOSE_PROJECT_NAME, the last `name:` of the files, or the folder's."""
    given = options.project_name or environment.lookup("COMPOSE_PROJECT_NAME") or ""
    if given:
        if given != normalize_name(given):
            raise ConfigError(
                f"invalid project name {given!r}: it may have lower case letters, digits, hyphens and underscores, and "
                "begins with a letter or digit",
                hint=f"{normalize_name(given)!r} would be one" if normalize_name(given) else None,
            )
        return given
    name, place = os.path.basename(folder), None
    for document in documents:
        written = document.content.get("name")
        if isinstance(written, str) and written:
            name, place = written, document.value_place(("name",))
    if place is not None and options.interpolate:
        try:
            name = substitute(name, environment.lookup)
        except TemplateError:
            return "invalid"  # reported with all other problems of the file
    name = normalize_name(name) if options.normalize or place is None else name
    if not name:
        # an unset variable must not lead to another name: volumes are found by it
        hint = "give it one: `name:` in the file, -p or COMPOSE_PROJECT_NAME"
        raise ConfigError("the project has no name", *(place or ("", 0, 0)), hint)
    return name


def _active_profiles(options: LoadOptions, environment: Environment) -> set[str]:
    named = options.profiles or environment.values.get("COMPOSE_PROFILES", "").split(",")
    return {each.strip() for each in named} - {""}
