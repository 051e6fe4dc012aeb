"""Which files a project has: discovery, COMPOSE_FILE, .env files, and reading them safely."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from compose.errors import ConfigError, ConfigErrors
from compose.loading import dotenv
from compose.loading.document import MAXIMUM_BYTES
from compose.loading.model import LoadOptions
from compose.loading.paths import on_this_machine

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
"""The values of COMPOSE_DISABLE_ENV_FILE, for yes and for no."""


def shown(path: str, folder: str) -> str:
    """Return a path as messages name it: relative to `folder` where it lies in it."""
    inside = folder.rstrip("/") + "/"
    return path[len(inside) :] if path.startswith(inside) else path


def read(path: str, name: str = "", limit_bytes: int = MAXIMUM_BYTES) -> bytes:
    """Return a regular file's content; anything else, or a larger one, is refused before a byte is read.

    `name` is what messages call the file; /dev/null is an empty one. Raises ConfigError.
    """
    name = name or path
    if path == os.devnull:
        return b""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise ConfigError(f"can't open {name}: {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError("not a regular file", name)
        if status.st_size > limit_bytes:
            raise ConfigError(f"the file has more than {limit_bytes >> 20} MiB", name, hint="is it a Compose file?")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit_bytes + 1)
    finally:
        os.close(descriptor)


def read_text(path: str, name: str = "") -> str:
    """Return a regular file's text. Raises ConfigError."""
    data = read(path, name)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("the file is not UTF-8 text", name or path, line, 1) from None


class Environment:
    """The variables of a project: those of the process, then those that .env files add.

    `origins` lists for each variable every place that sets it with the value there, the one in effect first.
    """

    def __init__(self, environ: Mapping[str, str], folder: str = "") -> None:
        self.values: dict[str, str] = dict(environ)
        self.origins: dict[str, list[tuple[str, str]]] = {
            key: [("the environment", value)] for key, value in environ.items()
        }
        self.files: list[str] = []
        self.warnings: list[str] = []
        self._folder = folder

    def lookup(self, name: str) -> str | None:
        """Return a variable's value, None where it is not set."""
        return self.values.get(name)

    def set(self, name: str, value: str, origin: str) -> None:
        """Set a variable, overriding every other place."""
        if self.values.get(name) != value:
            self.origins.setdefault(name, []).insert(0, (origin, value))
        self.values[name] = value

    def add_files(self, paths: Sequence[str]) -> None:
        """Add variables of .env files that are not set otherwise; later files override earlier ones. Raises ConfigError.

        A file that an earlier call has added is passed over; one that is named twice in this call counts twice.
        """
        known = set(self.files)
        found: dict[str, str] = {}
        origins: dict[str, list[tuple[str, str]]] = {}

        for path in paths:
            if path in known:
                continue
            self.files.append(path)
            name, lines = shown(path, self._folder), dict[str, int]()
            for key, value in dotenv.parse(read_text(path, name), name, self.values.get, lines, found).items():
                found[key] = value
                origins.setdefault(key, []).insert(0, (f"{name}:{lines[key]}", value))
        for key, value in found.items():
            self.values.setdefault(key, value)
            self.origins.setdefault(key, []).extend(origins[key])

    def copy(self) -> Environment:
        """Return a copy: variables added to it do not appear here."""
        other = Environment({}, self._folder)
        other.values = dict(self.values)
        other.origins = {key: list(value) for key, value in self.origins.items()}
        other.files = list(self.files)
        return other


def discover(options: LoadOptions, environment: Environment) -> tuple[list[str], str]:
    """Return the project's files (absolute; "-" for standard input) and its folder; reads .env files on the way.

    The order is the reference's: .env of the project directory, of the first -f file's folder or of this one; then the
    files' names, which that .env may give; then .env of the folder where they lie. Raises ConfigError, ConfigErrors.
    """
    here = options.working_directory
    environment.values.setdefault("PWD", here)
    folder = os.path.normpath(os.path.join(here, options.project_directory)) if options.project_directory else ""
    explicit = _explicit_env_files(options, environment)
    wants_default = not explicit and not _is_default_disabled(environment)
    if explicit:
        environment.add_files(explicit)
    given = [on_this_machine(each, options.fetch) for each in options.files]
    named = [each if each == "-" else os.path.join(here, each) for each in given]
    if wants_default:
        _add_default(folder or _folder_of(named, here), environment)
    origin = "-f"
    if not named and environment.values.get("COMPOSE_FILE"):
        separator = environment.values.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        named = environment.values["COMPOSE_FILE"].split(separator)
        origin = f"COMPOSE_FILE of {environment.origins['COMPOSE_FILE'][0][0]}"
    files = [each if each == "-" else os.path.normpath(os.path.join(here, each)) for each in named]
    _check_exist(files, origin, here)
    if not files:
        files = _default_files(folder or here, environment, here)
    folder = folder or os.path.normpath(_folder_of(files, here))
    if wants_default:
        _add_default(folder, environment)
    return files, folder


def _explicit_env_files(options: LoadOptions, environment: Environment) -> list[str]:
    named, origin = list(options.env_files), "--env-file"
    if not named:
        named = [each for each in environment.values.get("COMPOSE_ENV_FILES", "").split(",") if each]
        origin = "COMPOSE_ENV_FILES"
    paths = [os.path.normpath(os.path.join(options.working_directory, each)) for each in named]
    _check_exist(paths, origin, options.working_directory, "env file ")
    return paths


def _is_default_disabled(environment: Environment) -> bool:
    word = environment.values.get("COMPOSE_DISABLE_ENV_FILE")
    if word is None:
        return False
    if word not in TRUTHS:
        raise ConfigError(f'COMPOSE_DISABLE_ENV_FILE is "{word}": write true or false')
    return TRUTHS[word]


def _check_exist(paths: Sequence[str], origin: str, folder: str, kind: str = "") -> None:
    missing = [
        ConfigError(f"can't find {kind}{shown(path, folder)}", hint=f"{origin} names it")
        for path in paths
        if path != "-" and not os.path.exists(path)
    ]
    if missing:
        raise missing[0] if len(missing) == 1 else ConfigErrors(missing)


def _folder_of(files: Sequence[str], default: str) -> str:
    return next((os.path.dirname(each) for each in files if each != "-"), default)


def _add_default(folder: str, environment: Environment) -> None:
    path = os.path.join(folder, ".env")
    if os.path.exists(path) and not os.path.isdir(path):
        environment.add_files([path])


def _default_files(start: str, environment: Environment, here: str) -> list[str]:
    folder = start
    while True:
        found = [path for name in NAMES if os.path.exists(path := os.path.join(folder, name))]
        if found:
            over = [path for name in OVERRIDES if os.path.exists(path := os.path.join(folder, name))]
            for several in (found, over):
                if len(several) > 1:
                    names = ", ".join(shown(path, here) for path in several)
                    environment.warnings.append(f"found {names}: the first is used")
            return [found[0], *over[:1]]
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
