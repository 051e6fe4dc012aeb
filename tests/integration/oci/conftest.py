import pytest

from tests.support.probes import Prober


@pytest.fixture(scope="session")
def prober(shared_home, busybox_tar):
    """Containers in the shared engine, which has busybox; one that runs keeps the engine from going as idle."""
    shared_home.skiff("image", "load", "-i", busybox_tar)
    prober = Prober(shared_home)
    keeps = prober.create("sleep", "infinity")
    prober.client.start(keeps)
    yield prober
    shared_home.skiff("engine", "start")
    prober.client.remove(keeps, force=True)
