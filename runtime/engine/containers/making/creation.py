"""Creates containers from create requests."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from runtime.bodies import ContainerConfig, CreateBody, EndpointBody, HostConfig
from runtime.container.spec import capabilities, command, merge_image, security
from runtime.engine.containers.making import checks
from runtime.engine.containers.making.links import check_links
from runtime.engine.containers.making.mounts import Mounts
from runtime.engine.containers.state import Container
from runtime.engine.containers.table import ContainerTable
from runtime.engine.networks.endpoint_checks import check_endpoints
from runtime.engine.networks.networking import port_bindings
from runtime.engine.system.limits import MachineLimits
from runtime.engine.times import rfc3339
from runtime.errors import BadRequestError, NotFoundError, SkiffError
from runtime.image.images import Image, Images
from runtime.network.networks import PREDEFINED, Networks
from runtime.paths import Paths
from runtime.store.record import NEW
from runtime.volume.volumes import Volumes

DEFAULT_NETWORK = "bridge"
MARK = f"{NEW}container.json"
"""A file that marks a directory as incomplete; it is renamed to the container's record at the end."""
_MODES: tuple[Literal["NetworkMode", "IpcMode", "PidMode"], ...] = ("NetworkMode", "IpcMode", "PidMode")


@dataclass(frozen=True, eq=False)
class Creation:
    """Creates containers (Docker Engine API, "Create a container")."""

    paths: Paths
    table: ContainerTable
    images: Images
    networks: Networks
    volumes: Volumes
    mounts: Mounts
    limits: MachineLimits

    async def create(self, name: str | None, body: CreateBody, platform: str | None = None) -> dict[str, Any]:
        """Create a container; return Id and Warnings. Raises BadRequestError, NotFoundError, ConflictError."""
        host = self._checked(body)
        image = await self.images.whole(self.images.resolve(body["Image"]))
        checks.check_platform(image, body["Image"], platform)
        config = merge_image(body, image.defaults)
        command(config)
        port_bindings(config, host)
        host, warnings = await self.limits.settle(host)
        if host["NetworkMode"] == "host" and host.get("PortBindings"):
            warnings.append("Published ports are discarded when using host network mode")
        warnings += checks.platform_warnings(image, platform, os.uname().machine)
        if host.get("CgroupParent"):
            warnings.append("All containers are in the engine's own cgroup. CgroupParent has no effect.")
        id = secrets.token_hex(32)
        name = self.table.free_name(name)
        config["Hostname"] = config.get("Hostname") or ("" if host["NetworkMode"] == "host" else id[:12])
        directory = self.paths.container(id)
        directory.mkdir(parents=True, mode=0o700)
        (directory / MARK).touch(0o600)
        made: list[str] = []
        try:
            container = await self._make(id, name, image, body, config, host, made)
            self.table.add(container)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            for volume in made:
                with suppress(SkiffError):
                    self.volumes.remove(volume, [])
            raise
        self.table.emit(container, "create")
        return {"Id": id, "Warnings": warnings}

    def _checked(self, body: CreateBody) -> HostConfig:
        """Check the request and return its HostConfig with defaults. Raises BadRequestError."""
        if not any(key not in ("HostConfig", "NetworkingConfig") for key in body):
            raise BadRequestError("config cannot be empty in order to create a container")
        if not body.get("Image"):
            raise BadRequestError("no image specified", "name one: Image")
        host = (body.get("HostConfig") or HostConfig()).copy()
        if (host.get("NetworkMode") or "default") == "default":  # as in Docker, stored and shown as "bridge"
            host["NetworkMode"] = DEFAULT_NETWORK
        if (named := self._network_name(host["NetworkMode"])) in PREDEFINED:  # the mode may be its ID
            host["NetworkMode"] = named
        checks.check_config(body)
        checks.check_host(host)
        self._by_id(host)
        checks.check_conflicts(body, host)
        check_links(host.get("Links") or (), host["NetworkMode"], self.table)
        security(host, capabilities(host))
        return host

    def _by_id(self, host: HostConfig) -> None:
        """Replace names in "container:<name>" modes by IDs, in place, as Docker shows them."""
        for key in _MODES:
            kind, _, name = (host.get(key) or "").partition(":")
            if kind == "container":
                try:
                    host[key] = f"container:{self.table.find(name).id}"
                except NotFoundError as error:
                    if key != "NetworkMode":  # a missing network is reported when the container is started
                        raise BadRequestError(error.message) from error

    async def _make(
        self,
        id: str,
        name: str,
        image: Image,
        body: CreateBody,
        config: ContainerConfig,
        host: HostConfig,
        made: list[str],
    ) -> Container:
        networks = self._wanted_networks(body, host)
        check_endpoints(networks, self.networks)
        mounts = await self.mounts.provide(config, host, image, made)
        created = rfc3339(time.time_ns())
        return Container(id, name, image.id, body["Image"], created, config, host, networks, mounts)

    def _wanted_networks(self, body: CreateBody, host: HostConfig) -> dict[str, EndpointBody]:
        """Return the container's networks: name → endpoint settings. A missing network is reported at start."""
        mode = host["NetworkMode"]
        if body.get("NetworkDisabled"):
            return {}
        wanted = dict((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {})
        if mode == DEFAULT_NETWORK:
            wanted = wanted or {DEFAULT_NETWORK: {}}
        elif mode in ("host", "none"):
            # what was asked for there is kept, as it may have to be refused
            wanted = {mode: next((one for key, one in wanted.items() if self._network_name(key) == mode), None) or {}}
        elif not mode.startswith("container:"):
            known = {self._network_name(key) for key in wanted}
            wanted = wanted if self._network_name(mode) in known else {mode: {}, **wanted}
        found: dict[str, EndpointBody] = {}
        for key, settings in wanted.items():
            name = self._network_name(DEFAULT_NETWORK if key == "default" else key)
            if name in ("host", "none") and name != mode:
                raise BadRequestError(f"container cannot be connected to both networks {name} and {mode}")
            found[name] = (settings or EndpointBody()).copy()
        if body.get("MacAddress") and found:
            main = found.get(self._network_name(mode)) or next(iter(found.values()))
            if main.get("MacAddress") not in (None, "", body["MacAddress"]):
                raise BadRequestError(
                    "the container-wide MAC address must match the endpoint-specific MAC address for the main network, "
                    "or be left empty"
                )
            main["MacAddress"] = body["MacAddress"]
        return found

    def _network_name(self, name: str) -> str:
        try:
            return self.networks.resolve(name).name
        except NotFoundError:  # in "create" 404 means that the image is missing
            return name
