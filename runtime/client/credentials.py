"""Registry credentials of the user's Docker configuration: $DOCKER_CONFIG/config.json and credential helpers."""

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
    """Return the X-Registry-Auth header for `image` (Docker Engine API, "Authentication"); None without credentials.

    Raises SkiffError if the configuration can't be read or a credential helper fails.
    """
    found = find(domain_of(image), os.environ if environ is None else environ)
    return None if found is None else base64.urlsafe_b64encode(json.dumps(found).encode()).decode()


def registry_config(environ: Mapping[str, str] | None = None) -> tuple[str | None, list[str]]:
    """Return the X-Registry-Config header (Docker Engine API, "Build an image"), None without credentials; and problems.

    Most builds need no credentials, so what can't be read is not an error, but returned as a list of messages.
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
    """Yield (server, function that returns its credentials) for each server; errors are appended to `problems`."""
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
    """Return the registry of an image reference."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB


def find(domain: str, environ: Mapping[str, str]) -> dict[str, str] | None:
    """Return the credentials for the registry `domain`: from its helper, else the credsStore, else `auths`."""
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
        raise SkiffError(f"{path} can't be read: {error}", "fix or remove it; `docker login` writes it") from error
    return document if isinstance(document, dict) else {}


def setting(environ: Mapping[str, str], name: str) -> str:
    """Return the string `name` of the user's Docker configuration, "" if it is not set. Raises SkiffError."""
    found = _document(environ).get(name)
    return found if isinstance(found, str) else ""


def everything(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return all credentials of the user's configuration by registry, in the format of `auths` in a config.json.

    Credential helpers are called. Raises SkiffError if one fails.
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
    """Call `docker-credential-<helper> get` (docker-credential-helpers); None if it has nothing for `server`."""
    answer = _run_helper(helper, "get", server)
    if answer.returncode:
        if "not found" in (answer.stdout + answer.stderr).lower():
            return None
        raise SkiffError(f"docker-credential-{helper} failed for {server}: {(answer.stderr or answer.stdout).strip()}")
    try:
        document = json.loads(answer.stdout)
        name, secret = str(document["Username"]), str(document["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise SkiffError(f"docker-credential-{helper} printed invalid JSON for {server}") from error
    if name == "<token>":
        return {"identitytoken": secret, "serveraddress": server}
    return {"username": name, "password": secret, "serveraddress": server} if name else None


def _listed(helper: str) -> list[str]:
    """Return the servers of `docker-credential-<helper> list` (docker-credential-helpers)."""
    answer = _run_helper(helper, "list", "")
    try:
        return [str(server) for server in json.loads(answer.stdout)] if not answer.returncode else []
    except ValueError as error:
        raise SkiffError(f"docker-credential-{helper} list printed invalid JSON") from error


def _run_helper(helper: str, action: str, text: str) -> subprocess.CompletedProcess[str]:
    program = f"docker-credential-{helper}"
    try:
        return subprocess.run([program, action], input=text, capture_output=True, text=True, timeout=HELPER_TIMEOUT_S)
    except FileNotFoundError as error:
        raise SkiffError(
            f"{program} is not installed", "Docker's config.json names it: install or remove it"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SkiffError(f"{program} did not respond within {HELPER_TIMEOUT_S} s") from error
