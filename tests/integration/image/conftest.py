"""Registries for the tests of this room."""

import pytest

from tests.support.registry import PROGRAM, LocalRegistry, Relay


@pytest.fixture(scope="session")
def registry():
    """A registry that anybody may use."""
    assert PROGRAM, "no docker-registry: `apt-get install docker-registry`"
    registry = LocalRegistry()
    yield registry
    registry.stop()


@pytest.fixture
def relay(registry):
    """A relay before the registry: the same repositories under another address."""
    relay = Relay(registry.port)
    yield relay
    relay.stop()
