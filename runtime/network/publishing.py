"""The published ports of all containers: checked, held on the host, forwarded, taken back."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial

from runtime.errors import ConflictError
from runtime.network.firewall import Firewall, Forward
from runtime.network.ports import EVERYWHERE, PortBinding, hold, holders_among
from runtime.network.worker import Worker


class Publishing:
    """Which container has which ports of the host."""

    def __init__(self, firewall: Firewall, worker: Worker) -> None:
        self._firewall = firewall
        self._worker = worker
        self._published: dict[str, tuple[str, list[PortBinding], list[Forward], list[socket.socket]]] = {}

    def check(self, bindings: Sequence[PortBinding]) -> None:
        """Raise ConflictError, naming the holder, when one of the host ports can't be had now."""
        self._refuse_held(bindings)
        for binding in bindings:
            if binding.host_port:
                for held in hold(binding)[1]:
                    held.close()

    def _refuse_held(self, bindings: Sequence[PortBinding]) -> None:
        ours = {name: published for name, published, _, _ in self._published.values()}
        for binding in bindings:
            name = holders_among(ours, binding)
            if name is not None:
                where = f"{binding.host_ip or '0.0.0.0'}:{binding.host_port}/{binding.protocol}"
                raise ConflictError(
                    f"port {where} is already in use by container {name}",
                    "stop that container, or publish another port",
                )

    async def publish(
        self, container_id: str, container_name: str, address: str, bindings: Sequence[PortBinding]
    ) -> list[PortBinding]:
        """Forward ports of the host to `address`, all or none; returns them with the chosen host ports."""
        self._refuse_held(bindings)
        if not address or not bindings:
            return []
        done: list[PortBinding] = []
        sockets: list[socket.socket] = []
        try:
            for binding in bindings:
                held, opened = hold(binding)
                done.append(held)
                sockets += opened
            forwards = [
                Forward(
                    b.protocol, "" if b.host_ip in EVERYWHERE else b.host_ip, b.host_port, address, b.container_port
                )
                for b in done
            ]
            await self._worker.run(partial(self._firewall.publish, forwards))
        except BaseException:
            for one in sockets:
                one.close()
            raise
        self._published[container_id] = (container_name, done, forwards, sockets)
        return done

    async def unpublish(self, container_id: str) -> None:
        """Take the container's published ports back."""
        _, _, forwards, sockets = self._published.pop(container_id, ("", [], [], []))
        if forwards:
            await self._worker.run(partial(self._firewall.unpublish, forwards))
        for one in sockets:
            one.close()

    def close(self) -> None:
        """Let go of the host's ports without a word to the firewall, as the end of the process does."""
        for _, _, _, sockets in self._published.values():
            for one in sockets:
                one.close()
