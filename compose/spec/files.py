"""Which files a project has: discovery, COMPOSE_FILE, .env files, and reading them safely."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from compose.errors import ConfigError
from compose.spec import dotenv
from compose.spec.document import MAXIMUM_BYTES
from compose.spec.model import LoadOptions

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
TRUE_WORDS = ("1", "t", "true", "y", "yes", "on")


def read(path: str, limit_bytes: int = MAXIMUM_BYTES) -> bytes:
    """Return a regular file's content; anything else, or a larger one, is refused before a byte is read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"can't open {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError("not a regular file", path)
        if status.st_size > limit_bytes:
            raise ConfigError(f"the file has more than {limit_bytes >> 20} MiB", path, hint="is it a Compose file?")
        return file.read(limit_bytes + 1)


def read_text(path: str) -> str:
    """Return a regular file's text."""
    data = read(path)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError("the file is not UTF-8 text", path, data.count(b"\n", 0, error.start) + 1, 1) from None


class Environment:
    """The variables of a project: the process's first, then what .env files add; `origins` tells where from."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.values: dict[str, str] = dict(environ)
        self.origins: dict[str, list[tuple[str, str]]] = {
            key: [("the environment", value)] for key, value in environ.items()
        }
        self.files: list[str] = []

    def lookup(self, name: str) -> str | None:
        """Return a variable's value, None where it is not set."""
        return self.values.get(name)

    def add_file(self, path: str) -> None:
        """Take the variables of a .env file that are not set yet."""
        if path in self.files:
            return
        self.files.append(path)
        self.add(dotenv.parse(read_text(path), path, self.lookup), path)

    def add(self, found: Mapping[str, str], origin: str) -> None:
        """Take variables that are not set yet."""
        for key, value in found.items():
            self.values.setdefault(key, value)
            self.origins.setdefault(key, []).append((origin, value))

    def copy(self) -> Environment:
        """Return an environment that can be added to on its own."""
        other = Environment({})
        other.values = dict(self.values)
        other.origins = {key: list(value) for key, value in self.origins.items()}
        other.files = list(self.files)
        return other


def discover(options: LoadOptions, environment: Environment) -> tuple[list[str], str]:
    """Return the project's files (absolute; "-" for standard input) and its folder; reads .env files on the way."""
    folder = os.path.join(options.working_directory, options.project_directory) if options.project_directory else ""
    folder = os.path.normpath(folder) if folder else ""
    named = list(options.files)
    explicit = list(options.env_files)
    if not explicit and environment.values.get("COMPOSE_ENV_FILES"):
        explicit = environment.values["COMPOSE_ENV_FILES"].split(",")
    explicit = [os.path.normpath(os.path.join(options.working_directory, each)) for each in explicit]
    for path in explicit:
        if not os.path.exists(path):
            raise ConfigError(f"couldn't find env file: {path}")
        environment.add_file(path)
    first = [os.path.join(options.working_directory, each) for each in named if each != "-"]
    start = folder or (os.path.dirname(os.path.normpath(first[0])) if first else options.working_directory)
    if not explicit:
        _add_default(start, environment)
    if not named and environment.values.get("COMPOSE_FILE"):
        separator = environment.values.get("COMPOSE_PATH_SEPARATOR") or ":"
        named = environment.values["COMPOSE_FILE"].split(separator)
    files = [each if each == "-" else os.path.normpath(os.path.join(options.working_directory, each)) for each in named]
    if not files:
        files = _default_files(start)
    if not folder:
        folder = next((os.path.dirname(each) for each in files if each != "-"), options.working_directory)
    if not explicit:
        _add_default(folder, environment)
    return files, folder


def _add_default(folder: str, environment: Environment) -> None:
    path = os.path.join(folder, ".env")
    if os.path.isfile(path):
        environment.add_file(path)


def _default_files(start: str) -> list[str]:
    folder = start
    while True:
        for name in NAMES:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                override = next((each for each in OVERRIDES if os.path.isfile(os.path.join(folder, each))), None)
                return [path, os.path.join(folder, override)] if override else [path]
        parent = os.path.dirname(folder)
        if parent == folder:
            raise ConfigError(
                f"no Compose file in {start} or a folder above it",
                hint=f"name it {NAMES[0]}, or give its path with -f",
            )
        folder = parent


def normalize_name(text: str) -> str:
    """Return the project name that `text` makes: lower case letters, digits, "-" and "_", starting with the former."""
    kept = "".join(character for character in text.lower() if character in "abcdefghijklmnopqrstuvwxyz0123456789-_")
    return kept.lstrip("-_")
