"""Links between containers on the default bridge (HostConfig.Links): environment variables and names in /etc/hosts.

On other networks names are resolved by our resolver, and a link is an additional name there (`runtime.network`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtime.engine.containers.state import Container
from runtime.engine.containers.table import ContainerTable
from runtime.errors import BadRequestError, NotFoundError

LEFT_OUT = ("HOME", "PATH")
"""Variables of the linked container that are not passed on."""


@dataclass(frozen=True)
class ContainerLink:
    """A link: `of` can reach `container` as `alias`."""

    of: Container
    container: Container
    alias: str

    @property
    def name(self) -> str:
        """The name of the link, such as "/web/db"."""
        return f"/{self.of.name}/{self.alias}"

    def host_names(self) -> str:
        """Return the names for its line in /etc/hosts."""
        other = self.container
        return " ".join(dict.fromkeys((self.alias, other.config.get("Hostname") or other.id[:12], other.name)))

    def environment(self, address: str) -> list[str]:
        """Return the link's environment variables; `address` is the linked container's on the default bridge."""
        prefix = self.alias.replace("-", "_").upper()
        ports = [text.partition("/") for text in self.container.config.get("ExposedPorts") or ()]
        found = sorted((protocol or "tcp", int(port)) for port, _, protocol in ports if port.isdecimal())
        variables: dict[str, str] = {}
        for protocol, port in found:
            url, start = f"{protocol}://{address}:{port}", f"{prefix}_PORT_{port}_{protocol.upper()}"
            variables.setdefault(f"{prefix}_PORT", url)
            variables |= {start: url, f"{start}_ADDR": address, f"{start}_PORT": str(port), f"{start}_PROTO": protocol}
        variables[f"{prefix}_NAME"] = self.name
        for pair in self.container.config.get("Env") or ():
            name, equals, value = pair.partition("=")
            if equals and name not in LEFT_OUT:
                variables[f"{prefix}_ENV_{name}"] = value
        return [f"{name}={value}" for name, value in variables.items()]


def links_of(container: Container, table: ContainerTable) -> list[ContainerLink]:
    """Return the container's links. Raises NotFoundError if a linked container does not exist."""
    if (container.host.get("NetworkMode") or "bridge") not in ("bridge", "default"):
        return []
    found = []
    for text in container.host.get("Links") or ():
        name, alias = split(text)
        other = table.find(name)
        found.append(ContainerLink(container, other, alias or other.name))
    return found


def names_by_links(table: ContainerTable) -> dict[str, list[str]]:
    """Return container ID → names of the links to it."""
    found: dict[str, list[str]] = {}
    for container in table:
        if container.host.get("Links"):
            for link in existing(container, table):
                found.setdefault(link.container.id, []).append(link.name)
    return found


def existing(container: Container, table: ContainerTable) -> list[ContainerLink]:
    """Return the container's links, [] if one of the linked containers no longer exists."""
    try:
        return links_of(container, table)
    except NotFoundError:
        return []


def linked_to(container: Container, table: ContainerTable) -> list[Container]:
    """Return the running containers that link to `container`."""
    return [
        one
        for one in table
        if one.is_running
        and one.host.get("Links")
        and any(link.container is container for link in existing(one, table))
    ]


def check_links(links: Iterable[str], mode: str, table: ContainerTable) -> None:
    """Check the links of a new container. Raises BadRequestError."""
    for text in links:
        name, _ = split(text)
        try:
            other = table.find(name)
        except NotFoundError as error:  # in "create" 404 means that the image is missing
            raise BadRequestError(f"could not get container for {name}: {error.message}") from error
        if mode == "host" or other.host.get("NetworkMode") == "host":
            raise BadRequestError(
                "conflicting options: host type networking can't be used with links. This would result in undefined "
                "behavior"
            )


def split(text: str) -> tuple[str, str]:
    """Split a link, "name:alias" or, as shown by inspect, "/name:/of/alias", into name and alias.

    Raises BadRequestError.
    """
    name, _, alias = text.partition(":")
    if not name or ":" in alias:
        raise BadRequestError(f"bad format for links: {text}", 'write "name" or "name:alias"')
    return name, alias.rpartition("/")[2]


def shown(links: Sequence[ContainerLink]) -> list[str] | None:
    """Return links as in "Inspect a container"."""
    return [f"/{link.container.name}:{link.name}" for link in links] or None


def is_called(link: str, alias: str) -> bool:
    """Whether `link` ("name:alias") is known by `alias`."""
    name, own = split(link)
    return (own or name.strip("/")) == alias
