import pytest

from runtime.engine.containers.making.checks import (
    check_config,
    check_conflicts,
    check_host,
    check_platform,
    platform_warnings,
)
from runtime.errors import BadRequestError, NotFoundError
from runtime.image.images import Image


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"WorkingDir": "relative"}, "the working directory 'relative' is invalid, it needs to be an absolute path"),
        ({"Hostname": "h" * 65}, "invalid hostname"),
        ({"Env": ["=x"]}, "invalid environment variable: =x"),
        ({"StopSignal": "SIGNONE"}, "invalid signal: SIGNONE"),
        ({"StopTimeout": -2}, "invalid stop timeout"),
        ({"Healthcheck": {"Interval": 999_999}}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Healthcheck": {"StartPeriod": -1}}, "StartPeriod in Healthcheck cannot be less than 1ms"),
        ({"Healthcheck": {"Retries": -1}}, "Retries in Healthcheck cannot be negative"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_dockers_words(config, message):
    with pytest.raises(BadRequestError, match=message):
        check_config(config)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"OomScoreAdj": 1001}, r"Invalid value 1001, range for oom score adj is \[-1000, 1000\]"),
        ({"ShmSize": -1}, "SHM size can not be less than 0"),
        ({"LogConfig": {"Type": "splunk"}}, 'error looking up logging plugin splunk: plugin "splunk" not found'),
        ({"Runtime": "kata"}, "unknown or invalid runtime name: kata"),
        ({"RestartPolicy": {"Name": "often"}}, "invalid restart policy: unknown policy 'often'"),
        ({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}, "can only be used with 'on-failure'"),
        ({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -1}}, "maximum retry count cannot be negative"),
        ({"RestartPolicy": {"Name": "always"}, "AutoRemove": True}, "can't create 'AutoRemove' container"),
        ({"DeviceRequests": [{"Capabilities": [["gpu"]]}]}, r"with capabilities: \[\[gpu\]\]"),
        ({"StorageOpt": {"size": "1G"}}, "--storage-opt"),
        ({"PidMode": "shared"}, "invalid PID mode: shared"),
        ({"IpcMode": "container:"}, "invalid IPC mode"),
        ({"NetworkMode": "container:"}, "invalid container network mode"),
        ({"Dns": ["one.one"]}, "invalid IP address in dns: one.one"),
        ({"ExtraHosts": ["name"]}, 'bad format for add-host: "name"'),
        ({"ExtraHosts": ["name:nowhere"]}, "bad format for add-host"),
        ({"Devices": [{"PathInContainer": "/dev/x"}]}, "PathOnHost must not be empty"),
        ({"Ulimits": [{"Name": "nofile"}]}, "invalid ulimit"),
        ({"Ulimits": [{"Name": "nofile", "Soft": 2, "Hard": 1}]}, "soft limit must be less than or equal to hard"),
        ({"ConsoleSize": [1]}, "invalid console size"),
        ({"ConsoleSize": [70000, 1]}, "invalid console size"),
    ],
)
def test_a_host_configuration_that_cannot_be_is_refused_in_dockers_words(host, message):
    with pytest.raises(BadRequestError, match=message):
        check_host(host)


def test_what_can_be_passes():
    check_config({"WorkingDir": "/a", "Env": ["A=b", "C"], "StopSignal": "9", "Healthcheck": {"Interval": 10**9}})
    check_host(
        {
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "ExtraHosts": ["a:1.2.3.4", "b:host-gateway", "c=[::1]", "d:::1"],
            "PidMode": "container:a",
            "Runtime": "runc",
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
            "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": -1}],
        }
    )


def test_who_shares_a_network_sets_nothing_of_it():
    host = {"NetworkMode": "container:web"}
    check_conflicts({}, host)
    with pytest.raises(BadRequestError, match="conflicting options: dns and the container type network mode"):
        check_conflicts({}, {**host, "Dns": ["1.1.1.1"]})
    with pytest.raises(BadRequestError, match="hostname"):
        check_conflicts({"Hostname": "h"}, host)


@pytest.mark.parametrize("platform", [None, "", "linux/amd64", "linux/x86_64", "amd64", "linux", "LINUX/AMD64"])
def test_an_image_of_the_wanted_platform_passes(platform):
    check_platform(Image("sha256:a", {"os": "linux", "architecture": "amd64"}, (), (), 0), "web", platform)


@pytest.mark.parametrize("platform", ["linux/arm64", "windows/amd64", "arm64"])
def test_an_image_of_another_platform_counts_as_missing(platform):
    with pytest.raises(NotFoundError, match="does not match the specified platform"):
        check_platform(Image("sha256:a", {"os": "linux", "architecture": "amd64"}, (), (), 0), "web", platform)


def test_an_image_of_another_machine_is_warned_of_unless_it_was_asked_for():
    image = Image("sha256:a", {"os": "linux", "architecture": "arm64"}, (), (), 0)
    assert platform_warnings(image, None, "x86_64") == [
        "The requested image's platform (linux/arm64) does not match the detected host platform (linux/amd64) and no "
        "specific platform was requested"
    ]
    assert platform_warnings(image, "linux/arm64", "x86_64") == platform_warnings(image, None, "aarch64") == []
