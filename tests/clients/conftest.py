import docker
import pytest


@pytest.fixture(scope="module")
def client(shared_home, busybox_tar):
    """docker-py at the shared engine, which has busybox."""
    shared_home.skiff("image", "load", "-i", busybox_tar)
    client = docker.DockerClient(base_url=shared_home.host)
    yield client
    client.close()


@pytest.fixture
def create(client):
    """Creates containers by the low-level client, `host` the parameters of its HostConfig; removes them at the end."""
    made = []

    def make(*command, host=None, **options):
        about = client.api.create_container(
            "busybox",
            list(command) or ["sleep", "60"],
            host_config=client.api.create_host_config(**host or {}),
            **options,
        )
        container = client.containers.get(about["Id"])
        container.warnings = about["Warnings"]
        made.append(container)
        return container

    yield make
    for container in made:
        try:
            container.remove(force=True, v=True)
        except docker.errors.NotFound:  # the test has removed it
            continue


@pytest.fixture
def start(create):
    """The same, started."""

    def make(*command, **options):
        container = create(*command, **options)
        container.start()
        container.reload()
        return container

    return make


@pytest.fixture
def output(start):
    """Runs a command to its end; returns what it printed."""

    def run(script, **options):
        container = start("sh", "-c", script, **options)
        container.wait()
        return container.logs().decode()

    return run


@pytest.fixture
def network(client):
    """Makes networks, and removes them at the end, before the containers."""
    made = []

    def make(name, **options):
        made.append(client.networks.create(name, **options))
        return made[-1]

    yield make
    for one in made:
        one.reload()
        for container in one.containers:
            one.disconnect(container, force=True)
        one.remove()
