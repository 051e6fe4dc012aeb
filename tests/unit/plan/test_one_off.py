import pytest

from compose.plan.one_off import RunOptions, one_off_body, one_off_target
from runtime.errors import SkiffError
from tests.unit.plan.shop import target


def body(options=None, changed=None, name="web"):
    options = options or RunOptions()
    project = target(changed, environment={"FROM_ENV": "here"})
    special = one_off_target(project, name, "shop-web-run-1", options, "/work")
    return one_off_body(special, name, options, "slug", image_id="sha256:web")


def test_its_labels_say_what_it_is_and_it_has_no_number():
    labels = body()["Labels"]
    assert labels["com.docker.compose.oneoff"] == "True"
    assert labels["com.docker.compose.slug"] == "slug"
    assert "com.docker.compose.container-number" not in labels


def test_it_publishes_nothing_by_default():
    assert "PortBindings" not in body()["HostConfig"]
    assert list(body(RunOptions(service_ports=True))["HostConfig"]["PortBindings"]) == ["80/tcp"]
    own = body(RunOptions(ports=["127.0.0.1:9000:90/udp"]))["HostConfig"]["PortBindings"]
    assert own == {"90/udp": [{"HostIp": "127.0.0.1", "HostPort": "9000"}]}


def test_it_answers_to_the_service_only_on_request():
    aliases = body()["NetworkingConfig"]["EndpointsConfig"]["shop_default"]["Aliases"]
    assert aliases == ["shop-web-run-1"]
    shared = body(RunOptions(use_aliases=True))["NetworkingConfig"]["EndpointsConfig"]["shop_default"]["Aliases"]
    assert shared == ["shop-web-run-1", "web"]


def test_it_is_never_restarted():
    def restarts(model):
        model["services"]["web"] |= {"restart": "always", "deploy": {"restart_policy": {"condition": "any"}}}

    assert body(changed=restarts)["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_an_entrypoint_of_the_command_line_leaves_the_services_command_out():
    def commanded(model):
        model["services"]["web"] |= {"command": ["serve"], "entrypoint": ["/init"]}

    made = body(RunOptions(entrypoint="sh -c 'echo it'"), commanded)
    assert (made["Entrypoint"], made["Cmd"]) == (["sh", "-c", "echo it"], [])
    kept = body(RunOptions(command=["other"]), commanded)
    assert (kept["Entrypoint"], kept["Cmd"]) == (["/init"], ["other"])


def test_variables_come_from_the_command_line_then_files_then_the_service():
    def variables(model):
        model["services"]["web"]["environment"] = {"A": "service", "B": "service", "GONE": "x"}

    made = body(
        RunOptions(environment=["A=line", "FROM_ENV", "GONE"], file_environment={"A": "file", "B": "file"}), variables
    )
    assert sorted(made["Env"]) == ["A=line", "B=file", "FROM_ENV=here", "GONE=x"]


def test_a_volume_of_the_command_line_takes_the_place_of_the_services():
    made = body(RunOptions(volumes=["./src:/data:ro"]), name="db")
    mounts = [(mount["Type"], mount["Source"], mount["ReadOnly"]) for mount in made["HostConfig"]["Mounts"]]
    assert mounts == [("bind", "/work/src", True)]
    named = body(RunOptions(volumes=["data:/more"]))["HostConfig"]["Mounts"]
    assert [mount["Source"] for mount in named] == ["shop_data"]


def test_capabilities_of_the_command_line_win():
    def capable(model):
        model["services"]["web"] |= {"cap_add": ["NET_ADMIN"], "cap_drop": ["CHOWN"]}

    host = body(RunOptions(cap_add=["CHOWN"], cap_drop=["NET_ADMIN"]), capable)["HostConfig"]
    assert (host["CapAdd"], host["CapDrop"]) == (["CAP_CHOWN"], ["CAP_NET_ADMIN"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (RunOptions(labels=["nothing"]), "label must be set as KEY=VALUE"),
        (RunOptions(ports=["x:y"]), "--publish"),
        (RunOptions(volumes=["name::path"]), "--volume"),
        (RunOptions(entrypoint="sh 'open"), "--entrypoint"),
    ],
)
def test_what_is_malformed_is_refused(options, message):
    with pytest.raises(SkiffError, match=message):
        body(options)
