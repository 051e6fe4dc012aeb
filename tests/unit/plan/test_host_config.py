import json

import pytest

from compose.execute.files import security_options
from compose.plan.container_body import container_body
from runtime.errors import SkiffError
from tests.unit.plan.shop import target


def host(**settings):
    project = target(lambda model: model["services"]["web"].update(settings))
    return container_body(project, "web", 1, image_id="sha256:web")["HostConfig"]


def with_security(folder, *options):
    project = target(lambda model: model["services"]["web"].update(security_opt=list(options)))
    return security_options(project.__class__(**{**project.__dict__, "working_directory": str(folder)}), "web")


def test_devices_are_asked_for_by_what_they_can():
    reserved = {"resources": {"reservations": {"devices": [{"capabilities": ["tpu"], "device_ids": ["0"]}]}}}
    assert host(gpus=[{"count": "all"}], deploy=reserved)["DeviceRequests"] == [
        {"Driver": "", "Count": 0, "DeviceIDs": ["0"], "Capabilities": [["tpu"]], "Options": {}},
        {"Driver": "", "Count": -1, "Capabilities": [["gpu"]], "Options": {}},
    ]
    assert "DeviceRequests" not in host()


def test_annotations_and_storage_options_are_passed_on():
    made = host(annotations={"a": "b"}, storage_opt={"size": "1G"})
    assert (made["Annotations"], made["StorageOpt"]) == ({"a": "b"}, {"size": "1G"})


def test_a_restart_policy_of_deploy_goes_before_restart():
    policy = {"restart_policy": {"condition": "on-failure", "max_attempts": 3}}
    assert host(restart="always", deploy=policy)["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host(restart="always")["RestartPolicy"]["Name"] == "always"
    assert host(deploy={"restart_policy": {"condition": "none"}})["RestartPolicy"]["Name"] == "no"


def test_a_seccomp_profile_is_read_from_its_file(tmp_path):
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}\n')
    found = with_security(tmp_path, "seccomp=profile.json", "no-new-privileges", "label:disable")
    assert json.loads(found["SecurityOpt"][0].removeprefix("seccomp=")) == {"defaultAction": "SCMP_ACT_ALLOW"}
    assert found["SecurityOpt"][1:] == ["no-new-privileges", "label:disable"]
    assert with_security(tmp_path, "seccomp:unconfined")["SecurityOpt"] == ["seccomp:unconfined"]


def test_unconfined_system_paths_hide_and_protect_nothing(tmp_path):
    assert with_security(tmp_path, "systempaths=unconfined") == {"MaskedPaths": [], "ReadonlyPaths": []}
    assert with_security(tmp_path) == {}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("nonsense", 'invalid security option "nonsense"'),
        ("seccomp=nosuch.json", "nosuch.json: No such file or directory"),
        ("seccomp=broken.json", "broken.json: not JSON"),
    ],
)
def test_a_security_option_that_cannot_be_had_is_refused(tmp_path, option, message):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SkiffError, match=message):
        with_security(tmp_path, option)
