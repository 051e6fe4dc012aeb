import pytest

from tests.support.api import Api


@pytest.fixture(scope="module")
def api(shared_home, busybox_tar):
    """The API of the shared engine, which has busybox."""
    shared_home.skiff("image", "load", "-i", busybox_tar)
    return Api(shared_home.run / "engine.sock")


@pytest.fixture
def containers(api):
    """Runs containers, and removes them at the end."""
    made = []

    def run(*command, start=True, **body):
        id = (api.run if start else api.make)(*command, **body)
        made.append(id)
        return id

    yield run
    for id in made:
        api.remove(id)
