"""The services of a model by name. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compose.plan.service import Service


class Services(Mapping[str, "Service"]):
    """The services of a model by name, each made when it is first asked for."""

    def __init__(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        self._documents = documents
        self._made: dict[str, Service] = {}

    def __getitem__(self, name: str) -> Service:
        service = self._made.get(name)
        if service is None:
            # most commands only want the names, and nothing of what services are made of
            from compose.plan.service import Service

            service = self._made[name] = Service(name, self._documents[name])
        return service

    def __contains__(self, name: object) -> bool:
        return name in self._documents

    def __iter__(self) -> Iterator[str]:
        return iter(self._documents)

    def __len__(self) -> int:
        return len(self._documents)
