"""Networks that only configure others (Docker's --config-only and --config-from)."""

import pytest

pytestmark = pytest.mark.root


@pytest.fixture
def configuration(api):
    pool = {"Subnet": "10.77.3.0/24", "Gateway": "10.77.3.9"}
    options = {"com.docker.network.driver.mtu": "1400"}
    body = {
        "Name": "settings",
        "ConfigOnly": True,
        "IPAM": {"Config": [pool]},
        "Options": options,
        "Labels": {"a": "b"},
    }
    assert api.ask("POST", "/networks/create", body).status == 201
    yield body
    for name in ("made", "settings"):
        api.ask("DELETE", f"/networks/{name}")


def test_a_network_is_made_from_a_configuration(api, configuration, containers):
    shown = api.ask("GET", "/networks/settings").json
    assert (shown["ConfigOnly"], shown["Driver"], shown["IPAM"]["Config"]) == (
        True, "null", configuration["IPAM"]["Config"],
    )  # fmt: skip
    assert api.ask("POST", "/networks/create", {"Name": "made", "ConfigFrom": {"Network": "settings"}}).status == 201
    made = api.ask("GET", "/networks/made").json
    for key in ("Options", "Labels"):
        assert made[key] == configuration[key]
    assert (made["IPAM"]["Config"], made["ConfigFrom"]["Network"]) == (configuration["IPAM"]["Config"], "settings")
    id = containers("sleep", "60", HostConfig={"NetworkMode": "made"})
    attached = api.ask("GET", f"/containers/{id}/json").json["NetworkSettings"]["Networks"]["made"]
    assert (attached["Gateway"], attached["IPAddress"].rpartition(".")[0]) == ("10.77.3.9", "10.77.3")
    api.ask("DELETE", f"/containers/{id}?force=1")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"ConfigFrom": {"Network": "none-such"}}, 404, 'configuration network "none-such" does not exist'),
        ({"ConfigFrom": {"Network": "bridge"}}, 404, 'configuration network "bridge" does not exist'),
        ({"ConfigFrom": {"Network": "settings"}, "Labels": {"x": "y"}}, 403,
         "user supplied configurations are not supported if the network depends on a configuration network"),
        ({"Name": "settings", "ConfigOnly": True}, 409, "network with name settings already exists"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_made_of_a_configuration_is_refused(api, configuration, body, status, message):
    answer = api.ask("POST", "/networks/create", {"Name": "made", **body})
    assert (answer.status, answer.message) == (status, message)


def test_a_configuration_stays_while_it_is_used_and_takes_no_containers(api, configuration, containers):
    api.ask("POST", "/networks/create", {"Name": "made", "ConfigFrom": {"Network": "settings"}})
    answer = api.ask("DELETE", "/networks/settings")
    assert (answer.status, answer.message) == (
        403, 'error while removing network: configuration network "settings" is in use',
    )  # fmt: skip
    id = containers("sleep", "60")
    answer = api.ask("POST", "/networks/settings/connect", {"Container": id})
    assert (answer.status, answer.message) == (403, "cannot create endpoint on configuration-only network")
    assert api.ask("DELETE", "/networks/made").status == 204
    assert api.ask("DELETE", "/networks/settings").status == 204


def test_a_container_does_not_start_on_a_configuration(api, configuration, containers):
    id = containers("true", start=False, HostConfig={"NetworkMode": "settings"})
    answer = api.ask("POST", f"/containers/{id}/start")
    refused = "failed to set up container networking: cannot create endpoint on configuration-only network"
    assert (answer.status, answer.message) == (403, refused)
