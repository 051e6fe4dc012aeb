"""How a registry wants to know who asks: challenges, credentials and tokens (RFC 9110; Docker token authentication)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from runtime.errors import EngineError
from runtime.image.registry_http import Body, HttpClient, TransferError

LARGEST_TOKEN_BYTES = 1 << 20
CLIENT_ID = "skiff"
_PARAMETER = re.compile(r'([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)(?:\s+|$)")


@dataclass(frozen=True)
class Credentials:
    """What a client gave for a registry: name and password, or a token it got earlier."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    @classmethod
    def of(cls, document: Mapping[str, str] | None) -> Credentials | None:
        """Return the credentials of an X-Registry-Auth document (Docker Engine API, "Authentication"); None for none."""
        found = document or {}
        username, password = found.get("username") or "", found.get("password") or ""
        if not username and found.get("auth"):
            try:
                username, _, password = base64.b64decode(found["auth"]).decode().partition(":")
            except ValueError:
                return None
        identity, registry = found.get("identitytoken") or "", found.get("registrytoken") or ""
        if username == "<token>" and not identity:
            username, password, identity = "", "", password
        return cls(username, password, identity, registry) if username or identity or registry else None

    @property
    def basic(self) -> str:
        """The value of an Authorization header with name and password."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True)
class Challenge:
    """One way to authenticate that a 401 answer offers: its scheme in lower case, and parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges of a WWW-Authenticate header (RFC 9110, section 11.6.1)."""
    found: list[Challenge] = []
    position = 0
    while position < len(header):
        if header[position] in ", \t":
            position += 1
            continue
        parameter = _PARAMETER.match(header, position)
        if parameter is not None and found:
            value = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
            found[-1] = Challenge(found[-1].scheme, {**found[-1].parameters, parameter[1].lower(): value})
            position = parameter.end()
            continue
        scheme = _SCHEME.match(header, position)
        if scheme is None:
            break
        found.append(Challenge(scheme[1].lower(), {}))
        position = scheme.end()
    return found


async def authorize(
    http: HttpClient, challenges: list[Challenge], credentials: Credentials | None, scope: str
) -> str | None:
    """Return the Authorization header that answers one of `challenges` for `scope`; None when none can be answered.

    Raises EngineError (401) when the token server refuses the credentials.
    """
    for challenge in challenges:
        if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            if credentials is not None and credentials.registry_token:
                return f"Bearer {credentials.registry_token}"
            return f"Bearer {await _token(http, challenge.parameters, credentials, scope)}"
    for challenge in challenges:
        if challenge.scheme == "basic" and credentials is not None and credentials.username:
            return credentials.basic
    return None


async def _token(http: HttpClient, parameters: Mapping[str, str], credentials: Credentials | None, scope: str) -> str:
    """Get a token: by GET, or with an identity token by an OAuth 2 refresh (distribution, "Token Authentication")."""
    realm, service = parameters["realm"], parameters.get("service", "")
    asked: dict[str, str | list[str]] = {"service": service} if service else {}
    if scope := scope or parameters.get("scope", ""):
        asked["scope"] = scope
    headers: dict[str, str] = {"Accept": "application/json"}
    if credentials is not None and credentials.identity_token:
        form = urlencode(
            {
                "grant_type": "refresh_token",
                "client_id": CLIENT_ID,
                "refresh_token": credentials.identity_token,
                **asked,
            }
        ).encode()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        response = await http.open("POST", realm, headers, body=constant(form), length=len(form))
    else:
        if credentials is not None:
            headers["Authorization"] = credentials.basic
            asked["account"] = credentials.username
        asked["scope"] = scope.split()  # a GET names each scope by itself
        joint = "&" if urlsplit(realm).query else "?"
        response = await http.open("GET", f"{realm}{joint}{urlencode(asked, doseq=True)}", headers)
    async with response:
        data = await response.read(LARGEST_TOKEN_BYTES)
    host = urlsplit(realm).netloc
    if response.status in (400, 401, 403):
        who = "the credentials" if credentials is not None else "access without credentials"
        raise EngineError(f"{host} refused {who}", "log in again: `docker login`", 401)
    try:
        document = json.loads(data)
        token = document.get("token") or document.get("access_token")
    except (ValueError, AttributeError):
        token = None
    if response.status == 429 or response.status >= 500:
        raise TransferError(f"{host} gave no token: status {response.status}", "try again later")
    if response.status != 200 or not isinstance(token, str):
        raise EngineError(f"{host} gave no token: status {response.status}", "try again later", 502)
    return token


def constant(data: bytes) -> Body:
    """Return a request body of `data`."""

    async def pieces():  # type: ignore[no-untyped-def]  # noqa: ANN202
        yield data

    return pieces
