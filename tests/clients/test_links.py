"""Links on the default bridge: what a container learns of the one that it is linked to."""

import docker
import pytest

pytestmark = pytest.mark.root


@pytest.fixture
def database(start):
    """A running container with ports and a variable."""
    options = {
        "name": "database",
        "hostname": "db-host",
        "ports": [5432, (53, "udp")],
        "environment": {"PASSWORD": "s"},
    }
    return start("sleep", "60", **options)


def test_a_link_sets_variables_and_a_line_in_hosts(database, output):
    address = database.attrs["NetworkSettings"]["IPAddress"]
    shown = output("env; cat /etc/hosts", host={"links": {"database": "the-db"}}, name="reader").splitlines()
    for line in (
        f"THE_DB_PORT=tcp://{address}:5432",
        f"THE_DB_PORT_5432_TCP=tcp://{address}:5432",
        f"THE_DB_PORT_5432_TCP_ADDR={address}",
        "THE_DB_PORT_5432_TCP_PORT=5432",
        "THE_DB_PORT_5432_TCP_PROTO=tcp",
        f"THE_DB_PORT_53_UDP=udp://{address}:53",
        "THE_DB_NAME=/reader/the-db",
        "THE_DB_ENV_PASSWORD=s",
        f"{address}\tthe-db db-host database",
    ):
        assert line in shown
    assert not any(line.startswith("THE_DB_ENV_PATH=") for line in shown)


def test_execs_know_of_links_too_and_own_variables_come_first(database, start):
    container = start("sleep", "60", host={"links": {"database": "db"}}, environment={"DB_NAME": "mine"})
    told = container.exec_run(["sh", "-c", "echo $DB_NAME $DB_ENV_PASSWORD"]).output
    assert told == b"mine s\n"


def test_links_are_names_in_lists_and_inspections(client, database, create):
    create("true", name="reader", host={"links": {"database": "db"}})
    assert client.api.containers(filters={"name": "database"})[0]["Names"] == ["/database", "/reader/db"]
    assert client.containers.get("reader").attrs["HostConfig"]["Links"] == ["/database:/reader/db"]


def test_a_linked_container_is_found_where_it_is_now(client, database, start):
    reader = start("sleep", "60", host={"links": {"database": "db"}})

    def line():
        database.reload()
        return f"{database.attrs['NetworkSettings']['IPAddress']}\tdb db-host database\n".encode()

    assert line() in reader.exec_run("cat /etc/hosts").output
    before, bridge = line(), client.networks.get("bridge")
    bridge.disconnect(database)
    assert before not in reader.exec_run("cat /etc/hosts").output
    bridge.connect(database)
    assert line() in reader.exec_run("cat /etc/hosts").output


def test_a_link_needs_a_running_container(database, create):
    container = create("true", host={"links": {"database": "db"}})
    database.stop(timeout=0)
    with pytest.raises(docker.errors.APIError, match="Cannot link to a non running container: /database AS") as caught:
        container.start()
    assert caught.value.status_code == 500


def test_a_link_is_removed_and_both_containers_stay(client, database, start):
    container = start("sleep", "60", name="reader", host={"links": {"database": "the-db"}})
    client.api.remove_container("/reader/the-db", link=True)
    container.reload()
    assert (container.status, container.attrs["HostConfig"]["Links"]) == ("running", None)
    for name, status, message in (
        ("reader/the-db", 404, "No such container: reader/the-db"),
        ("reader", 500, "Conflict, cannot remove the default link name of the container"),
    ):
        with pytest.raises(docker.errors.APIError) as caught:
            client.api.remove_container(name, link=True)
        assert (caught.value.status_code, caught.value.explanation) == (status, message)
