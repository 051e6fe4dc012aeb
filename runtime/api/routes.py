"""Every path of the API and what answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from runtime.api import containers, files, images, networks, streams, system

Route = tuple[str, str, Callable[..., Awaitable[Any]]]

NAME = r"([^/]+)"
IMAGE = r"(.+)"

ROUTES: list[Route] = [
    ("GET", r"/_ping", system.ping),
    ("HEAD", r"/_ping", system.ping),
    ("GET", r"/version", system.version),
    ("GET", r"/info", system.info),
    ("GET", r"/events", system.events),
    ("GET", r"/system/df", system.df),
    ("GET", r"/plugins", system.plugins),
    ("POST", r"/auth", images.auth),
    ("POST", r"/build", system.build),
    ("POST", r"/build/prune", system.build_prune),
    ("GET", r"/containers/json", containers.list_),
    ("POST", r"/containers/create", containers.create),
    ("POST", r"/containers/prune", containers.prune),
    ("GET", rf"/containers/{NAME}/json", containers.inspect),
    ("GET", rf"/containers/{NAME}/top", containers.top),
    ("GET", rf"/containers/{NAME}/logs", streams.logs),
    ("GET", rf"/containers/{NAME}/stats", containers.stats),
    ("POST", rf"/containers/{NAME}/start", containers.start),
    ("POST", rf"/containers/{NAME}/stop", containers.stop),
    ("POST", rf"/containers/{NAME}/restart", containers.restart),
    ("POST", rf"/containers/{NAME}/kill", containers.kill),
    ("POST", rf"/containers/{NAME}/pause", containers.pause),
    ("POST", rf"/containers/{NAME}/unpause", containers.unpause),
    ("POST", rf"/containers/{NAME}/rename", containers.rename),
    ("POST", rf"/containers/{NAME}/update", containers.update),
    ("POST", rf"/containers/{NAME}/wait", containers.wait),
    ("POST", rf"/containers/{NAME}/resize", containers.resize),
    ("POST", rf"/containers/{NAME}/attach", streams.attach),
    ("GET", rf"/containers/{NAME}/changes", files.changes),
    ("GET", rf"/containers/{NAME}/export", files.export),
    ("HEAD", rf"/containers/{NAME}/archive", files.archive_head),
    ("GET", rf"/containers/{NAME}/archive", files.archive_get),
    ("PUT", rf"/containers/{NAME}/archive", files.archive_put),
    ("DELETE", rf"/containers/{NAME}", containers.remove),
    ("POST", rf"/containers/{NAME}/exec", streams.exec_create),
    ("POST", rf"/exec/{NAME}/start", streams.exec_start),
    ("POST", rf"/exec/{NAME}/resize", streams.exec_resize),
    ("GET", rf"/exec/{NAME}/json", streams.exec_inspect),
    ("POST", r"/commit", images.commit),
    ("GET", r"/images/json", images.list_),
    ("GET", r"/images/search", images.search),
    ("POST", r"/images/create", images.pull),
    ("POST", r"/images/load", images.load),
    ("POST", r"/images/prune", images.prune),
    ("GET", r"/images/get", images.save),
    ("GET", rf"/images/{IMAGE}/get", images.save_one),
    ("GET", rf"/images/{IMAGE}/json", images.inspect),
    ("GET", rf"/images/{IMAGE}/history", images.history),
    ("POST", rf"/images/{IMAGE}/tag", images.tag),
    ("POST", rf"/images/{IMAGE}/push", images.push),
    ("DELETE", rf"/images/{IMAGE}", images.remove),
    ("GET", rf"/distribution/{IMAGE}/json", images.distribution),
    ("GET", r"/networks", networks.list_networks),
    ("POST", r"/networks/create", networks.create_network),
    ("POST", r"/networks/prune", networks.prune_networks),
    ("GET", rf"/networks/{NAME}", networks.inspect_network),
    ("POST", rf"/networks/{NAME}/connect", networks.connect),
    ("POST", rf"/networks/{NAME}/disconnect", networks.disconnect),
    ("DELETE", rf"/networks/{NAME}", networks.remove_network),
    ("GET", r"/volumes", networks.list_volumes),
    ("POST", r"/volumes/create", networks.create_volume),
    ("POST", r"/volumes/prune", networks.prune_volumes),
    ("GET", rf"/volumes/{NAME}", networks.inspect_volume),
    ("DELETE", rf"/volumes/{NAME}", networks.remove_volume),
    ("GET", r"/skiff/v1/engine", system.engine),
    ("POST", r"/skiff/v1/engine/stop", system.stop),
    ("POST", r"/skiff/v1/ports/check", system.ports_check),
    ("POST", r"/skiff/v1/images/bootstrap", images.bootstrap),
]
