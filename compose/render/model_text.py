"""The whole model as `config` writes it. JSON and YAML differ where those of the reference differ.

JSON has what is empty but belongs to a whole (a network's `ipam`, `resources` and `placement` of `deploy`) and a
`command` that is null, but no limit of 0; YAML has extensions (`x-…`) wherever a file has them, JSON only those of the top level.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from compose.loading.yaml_text import yaml_text
from compose.plan.hashes import as_json
from compose.render.yaml_order import all_in_order, in_order
from runtime.errors import SkiffError

EMPTY_IN_JSON = ("ipam", "resources", "placement")
NULL_IN_JSON = ("command", "entrypoint")
Path = tuple[str | int, ...]


def raw_text(model: Mapping[str, Any], format: str) -> str:
    """Return a model that is not encoded as text, its keys sorted. Raises SkiffError for an unknown format."""
    return _json(_sorted(model)) if _is_json(format) else yaml_text(all_in_order(model))


def model_text(model: Mapping[str, Any], format: str, extensions: Mapping[Path, Any]) -> str:
    """Return an encoded model as text; `extensions` are those that YAML has too, by path.

    Raises SkiffError for an unknown format, or for what the reference can't write as JSON.
    """
    if not _is_json(format):
        shown = copy.deepcopy(dict(model))
        for path, value in extensions.items():
            _insert(shown, path, value)
        return yaml_text(in_order(_for_yaml(shown, ())))
    for name, service in (model.get("services") or {}).items():
        keys = (service.get("build") or {}).get("ssh") or ()
        for key in keys:
            if ": " in key:
                # the reference writes such a key as no JSON at all, and stops there
                what = f'services.{name}.build.ssh: "{key}" has a path, for which the JSON of Compose has no form'
                raise SkiffError(what, "write --format yaml")
    return _json(_for_json(dict(model)))


def _is_json(format: str) -> bool:
    if format not in ("json", "yaml"):
        raise SkiffError(f'unsupported format "{format}"', "write --format yaml or --format json")
    return format == "json"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(child) for key, child in sorted(value.items())}
    return [_sorted(child) for child in value] if isinstance(value, list) else value


def _insert(tree: Any, path: Path, value: Any) -> None:
    """Put a value at a path whose holder is there."""
    holder = tree
    for step in path[:-1]:
        try:
            holder = holder[step]
        except (KeyError, IndexError, TypeError):
            return  # it has been left out
    if isinstance(holder, dict):
        holder[path[-1]] = value


def _for_json(model: dict[str, Any]) -> dict[str, Any]:
    """Return a model, which may be changed, as the reference's JSON has it."""
    if model.get("services"):
        model["services"] = {name: as_json(service) for name, service in model["services"].items()}
    return dict(sorted(model.items()))


def _for_yaml(value: Any, path: Path) -> Any:
    """Return a model without what the reference has in JSON alone."""
    if isinstance(value, list):
        return [_for_yaml(child, (*path, index)) for index, child in enumerate(value)]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, child in value.items():
        is_attribute = (len(path) == 2 and path[0] in ("services", "networks")) or path[2:] == ("deploy",)
        if key == "exec" and child == {"command": None} and path[-2:-1] == ("watch",):
            continue
        if is_attribute and ((key in EMPTY_IN_JSON and child == {}) or (key in NULL_IN_JSON and child is None)):
            continue
        found[key] = _for_yaml(child, (*path, key))
    return found
