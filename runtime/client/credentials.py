"""What the user's Docker configuration says of a registry: $DOCKER_CONFIG/config.json and its credential helpers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from runtime.errors import SkiffError

HUB, HUB_KEY = "docker.io", "https://index.docker.io/v1/"
HELPER_TIMEOUT_S = 60


def registry_auth(image: str, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the X-Registry-Auth header for `image` (Docker Engine API, "Authentication"); None where none is known.

    Raises SkiffError when the configuration can't be read or a credential helper fails.
    """
    found = find(domain_of(image), os.environ if environ is None else environ)
    return None if found is None else base64.urlsafe_b64encode(json.dumps(found).encode()).decode()


def registry_config(environ: Mapping[str, str] | None = None) -> tuple[str | None, list[str]]:
    """Return the X-Registry-Config header (Docker Engine API, "Build an image"), None where no registry is known.

    A build may need any of them, and most need none: what can't be read is no reason not to build, but returned as well.
    """
    environ = os.environ if environ is None else environ
    try:
        document = _document(environ)
    except SkiffError as error:
        return None, [str(error)]
    problems: list[SkiffError] = []
    found: dict[str, dict[str, str]] = {}
    for server, entry in _sources(document, problems):
        try:
            if (one := entry()) is not None:
                found[server] = one
        except SkiffError as error:
            problems.append(error)
    header = base64.urlsafe_b64encode(json.dumps(found).encode()).decode() if found else None
    return header, [str(problem) for problem in problems]


def _sources(
    document: Mapping[str, Any], problems: list[SkiffError]
) -> Iterator[tuple[str, Callable[[], dict[str, str] | None]]]:
    """Yield how to get the credentials for each server that a configuration knows; `problems` takes what prevents it."""
    for server, entry in (document.get("auths") or {}).items():
        yield server, partial(_entry, entry, server)
    if store := document.get("credsStore"):
        try:
            servers = _listed(str(store))
        except SkiffError as error:
            servers = []
            problems.append(error)
        for server in servers:
            yield server, partial(_ask_helper, str(store), server)
    for server, helper in (document.get("credHelpers") or {}).items():
        yield str(server), partial(_ask_helper, str(helper), str(server))


def domain_of(image: str) -> str:
    """Return the registry that the image's name means."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB


def find(domain: str, environ: Mapping[str, str]) -> dict[str, str] | None:
    """Return the credentials for the registry `domain`: from its helper, else the store, else the file itself."""
    document = _document(environ)
    keys = (HUB_KEY, HUB, "index.docker.io") if domain == HUB else (domain, f"https://{domain}", f"http://{domain}")
    helpers = document.get("credHelpers") or {}
    helper = next((helpers[key] for key in keys if key in helpers), None) or document.get("credsStore")
    if helper:
        for key in keys:
            if (found := _ask_helper(str(helper), key)) is not None:
                return found
    for key, entry in (document.get("auths") or {}).items():
        if (key in keys or _host(key) == domain) and (found := _entry(entry, key)) is not None:
            return found
    return None


def _document(environ: Mapping[str, str]) -> Mapping[str, Any]:
    folder = environ.get("DOCKER_CONFIG") or str(Path(environ.get("HOME") or "/") / ".docker")
    path = Path(folder) / "config.json"
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SkiffError(f"{path} can't be read: {error}", "mend or remove it; `docker login` writes it") from error
    return document if isinstance(document, dict) else {}


def setting(environ: Mapping[str, str], name: str) -> str:
    """Return a text of the user's Docker configuration, "" where it has none of that name. Raises SkiffError."""
    found = _document(environ).get(name)
    return found if isinstance(found, str) else ""


def everything(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return all credentials that the user's configuration has, by registry, as `auths` of a config.json has them.

    Those of helpers are asked for. Raises SkiffError when one fails.
    """
    problems: list[SkiffError] = []
    found = {server: entry() for server, entry in _sources(_document(environ), problems)}
    if problems:
        raise problems[0]
    return {server: _auth(one) for server, one in found.items() if one is not None}


def _auth(found: Mapping[str, str]) -> dict[str, str]:
    if "identitytoken" in found:
        return {"identitytoken": found["identitytoken"]}
    return {"auth": base64.b64encode(f"{found['username']}:{found['password']}".encode()).decode()}


def _host(key: str) -> str:
    return (key.partition("://")[2] if "://" in key else key).partition("/")[0]


def _entry(entry: Mapping[str, Any], server: str) -> dict[str, str] | None:
    if entry.get("identitytoken"):
        return {"identitytoken": str(entry["identitytoken"]), "serveraddress": server}
    name, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            name, _, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
        except ValueError as error:
            raise SkiffError(f"the credentials for {server} can't be read", f"`docker login {server}` again") from error
    return {"username": name, "password": password, "serveraddress": server} if name else None


def _ask_helper(helper: str, server: str) -> dict[str, str] | None:
    """Ask `docker-credential-<helper>` (docker-credential-helpers, "get"); None when it knows nothing of `server`."""
    answer = _run_helper(helper, "get", server)
    if answer.returncode:
        if "not found" in (answer.stdout + answer.stderr).lower():
            return None
        raise SkiffError(f"docker-credential-{helper} failed for {server}: {(answer.stderr or answer.stdout).strip()}")
    try:
        document = json.loads(answer.stdout)
        name, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise SkiffError(f"docker-credential-{helper} gave an answer that can't be read for {server}") from error
    if name == "<token>":
        return {"identitytoken": secret, "serveraddress": server}
    return {"username": name, "password": secret, "serveraddress": server} if name else None


def _listed(helper: str) -> list[str]:
    """Return the servers that `docker-credential-<helper>` knows (docker-credential-helpers, "list")."""
    answer = _run_helper(helper, "list", "")
    try:
        return [str(server) for server in json.loads(answer.stdout)] if not answer.returncode else []
    except ValueError as error:
        raise SkiffError(f"docker-credential-{helper} gave a list that can't be read") from error


def _run_helper(helper: str, what: str, told: str) -> subprocess.CompletedProcess[str]:
    program = f"docker-credential-{helper}"
    try:
        return subprocess.run([program, what], input=told, capture_output=True, text=True, timeout=HELPER_TIMEOUT_S)
    except FileNotFoundError as error:
        raise SkiffError(
            f"{program} is not installed", "Docker's config.json names it: install or remove it"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SkiffError(f"{program} gave no answer in {HELPER_TIMEOUT_S} s") from error
