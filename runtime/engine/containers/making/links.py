"""Links between containers on the default bridge (HostConfig.Links): variables and names for who looks from one to another.

On other networks names are resolved, and a link is one more name there (`runtime.network`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtime.engine.containers.state import Container
from runtime.engine.containers.table import ContainerTable
from runtime.errors import BadRequestError, NotFoundError

LEFT_OUT = ("HOME", "PATH")
"""Variables that the linked container has of its image, and that say nothing to others."""


@dataclass(frozen=True)
class ContainerLink:
    """A container and what another one, `of`, calls it."""

    of: Container
    container: Container
    alias: str

    @property
    def name(self) -> str:
        """The linked container's name seen from the other one, as "/web/db"."""
        return f"/{self.of.name}/{self.alias}"

    def host_names(self) -> str:
        """Return the names of its line in /etc/hosts."""
        other = self.container
        return " ".join(dict.fromkeys((self.alias, other.config.get("Hostname") or other.id[:12], other.name)))

    def environment(self, address: str) -> list[str]:
        """Return the variables that tell of it; `address` is its own on the default bridge."""
        prefix = self.alias.replace("-", "_").upper()
        ports = [text.partition("/") for text in self.container.config.get("ExposedPorts") or ()]
        found = sorted((protocol or "tcp", int(port)) for port, _, protocol in ports if port.isdecimal())
        told: dict[str, str] = {}
        for protocol, port in found:
            url, start = f"{protocol}://{address}:{port}", f"{prefix}_PORT_{port}_{protocol.upper()}"
            told.setdefault(f"{prefix}_PORT", url)
            told |= {start: url, f"{start}_ADDR": address, f"{start}_PORT": str(port), f"{start}_PROTO": protocol}
        told[f"{prefix}_NAME"] = self.name
        for pair in self.container.config.get("Env") or ():
            name, equals, value = pair.partition("=")
            if equals and name not in LEFT_OUT:
                told[f"{prefix}_ENV_{name}"] = value
        return [f"{name}={value}" for name, value in told.items()]


def links_of(container: Container, table: ContainerTable) -> list[ContainerLink]:
    """Return the container's links. Raises NotFoundError when one leads to nowhere."""
    if (container.host.get("NetworkMode") or "bridge") not in ("bridge", "default"):
        return []
    found = []
    for text in container.host.get("Links") or ():
        name, alias = split(text)
        other = table.find(name)
        found.append(ContainerLink(container, other, alias or other.name))
    return found


def names_by_links(table: ContainerTable) -> dict[str, list[str]]:
    """Return the names that containers, by ID, have by the links of others."""
    found: dict[str, list[str]] = {}
    for container in table:
        if container.host.get("Links"):
            for link in existing(container, table):
                found.setdefault(link.container.id, []).append(link.name)
    return found


def existing(container: Container, table: ContainerTable) -> list[ContainerLink]:
    """Return the container's links, none when one of them leads to nowhere any more."""
    try:
        return links_of(container, table)
    except NotFoundError:
        return []


def linked_to(container: Container, table: ContainerTable) -> list[Container]:
    """Return the running containers that have a link to `container`."""
    return [
        one
        for one in table
        if one.is_running
        and one.host.get("Links")
        and any(link.container is container for link in existing(one, table))
    ]


def check_links(links: Iterable[str], mode: str, table: ContainerTable) -> None:
    """Check the links of a container that is to be made. Raises BadRequestError."""
    for text in links:
        name, _ = split(text)
        try:
            other = table.find(name)
        except NotFoundError as error:  # 404 would say that the image is missing
            raise BadRequestError(f"could not get container for {name}: {error.message}") from error
        if mode == "host" or other.host.get("NetworkMode") == "host":
            raise BadRequestError(
                "conflicting options: host type networking can't be used with links. This would result in undefined "
                "behavior"
            )


def split(text: str) -> tuple[str, str]:
    """Return the name and the alias of a link, "name:alias" or, as inspected ones are written, "/name:/of/alias".

    Raises BadRequestError.
    """
    name, _, alias = text.partition(":")
    if not name or ":" in alias:
        raise BadRequestError(f"bad format for links: {text}", 'write "name" or "name:alias"')
    return name, alias.rpartition("/")[2]


def shown(links: Sequence[ContainerLink]) -> list[str] | None:
    """Return links as "Inspect a container" has them."""
    return [f"/{link.container.name}:{link.name}" for link in links] or None
