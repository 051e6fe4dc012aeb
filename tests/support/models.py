"""Loading one small Compose file: what the tables of these tests are made of."""

import pytest

from compose.errors import ConfigError, ConfigErrors
from compose.loading import LoadOptions, load

ABSENT = object()


def loaded(folder, text, environ=None, **options):
    """Return the project of one file with `text`."""
    (folder / "compose.yaml").write_text(text)
    return load(LoadOptions(str(folder), project_name="demo", all_resources=True, **options), environ or {})


def service(folder, attribute, value, rest="", environ=None):
    """Return what becomes of a service's attribute, in YAML; ABSENT where it says nothing. `{here}` is the folder."""
    base = "" if attribute in ("image", "build", "provider") else "    image: a\n"
    text = f"services:\n  web:\n{base}    {attribute}: {value}\n{rest}"
    return loaded(folder, text, environ).services["web"].config.get(attribute, ABSENT)


def refusal(folder, text, environ=None, **options):
    """Return what is said of a file that must be refused."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, environ, **options)
    error = caught.value
    return "\n".join(map(str, error.errors)) if isinstance(error, ConfigErrors) else str(error)


def placed(value, folder):
    """Return an expected value with `{here}` and `{up}` replaced by the folder of the file and the one above."""
    if isinstance(value, dict):
        return {key: placed(child, folder) for key, child in value.items()}
    if isinstance(value, list):
        return [placed(child, folder) for child in value]
    return value.replace("{here}", str(folder)).replace("{up}", str(folder.parent)) if isinstance(value, str) else value


REST = """\
  other: {image: b}
networks: {back: {}, front: {}}
volumes: {data: {}, other: {}}
secrets: {one: {file: ./s}}
configs: {one: {file: ./c}}
models: {llm: {model: m}}
"""
"""What services of the tables refer to."""

ENVIRON = {"HERE": "yes", "HOME": "/home/me"}


def row_names(rows):
    """Return how the rows of a table are called: attribute and value."""
    return [f"{row[0]}: {row[1]}"[:80] for row in rows]


def same(found, expected, folder):
    """Return whether a value is the expected one, in which `{here}` and `{up}` are the folder and the one above."""
    return found is ABSENT if expected is ABSENT else found == placed(expected, folder)
