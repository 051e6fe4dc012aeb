import os
import shutil
import subprocess

import docker
import pytest

DOCKER = os.environ.get("SKIFF_TEST_DOCKER") or shutil.which("docker")
PLUGINS = os.environ.get("SKIFF_TEST_PLUGINS")


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


@pytest.fixture(scope="module")
def docker_cli(shared_home, busybox_tar, tmp_path_factory):
    """Runs the docker CLI with buildx and compose on an engine of ours; returns what it said, on both streams."""
    if not DOCKER or not PLUGINS:
        pytest.skip("no docker client with buildx: `.ci/docker-cli` and `.ci/buildx` provide them")
    shared_home.skiff("image", "load", "-i", busybox_tar)
    config = tmp_path_factory.mktemp("docker-config")
    (config / "cli-plugins").symlink_to(PLUGINS)
    environment = {**os.environ, "DOCKER_CONFIG": str(config), "DOCKER_HOST": shared_home.host, "BUILDKIT_COLORS": ""}
    environment |= {"DOCKER_CLI_HINTS": "false", "NO_COLOR": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}

    def run(*arguments, code=0, cwd=None, input=None, **more):
        done = subprocess.run(
            [DOCKER, *map(str, arguments)],
            capture_output=True,
            text=not isinstance(input, bytes),
            cwd=cwd,
            input=input,
            env={**environment, **more},
            timeout=60,
        )
        said = done.stdout + done.stderr
        said = said if isinstance(said, str) else said.decode()
        assert done.returncode == code, said
        return said

    run.environment = environment
    run.home = shared_home
    return run
