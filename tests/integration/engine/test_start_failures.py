"""Starts that fail, as dockerd 28.5.2 (runc 1.3) reports them: status, message and exit code; what to do is the hint."""

import pytest

pytestmark = pytest.mark.root

CREATE = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
)
INIT = CREATE + "unable to start container process: error during container init: "
NETWORKING = "failed to set up container networking: "
WRONG_KIND = (
    ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is "
    "the expected type"
)
STARTS = [
    ({"Cmd": ["nosuch"]}, 400, 127, INIT + 'exec: "nosuch": executable file not found in $PATH'),
    ({"Cmd": [""]}, 400, 127, INIT + 'exec: "": executable file not found in $PATH'),
    ({"Cmd": ["etc"], "Env": ["PATH=/"]}, 400, 127, INIT + 'exec: "etc": executable file not found in $PATH'),
    ({"Cmd": ["/no/such"]}, 400, 127, INIT + 'exec: "/no/such": stat /no/such: no such file or directory'),
    ({"Cmd": ["/etc/passwd"]}, 400, 126, INIT + 'exec: "/etc/passwd": permission denied'),
    ({"Cmd": ["/etc"]}, 400, 126, INIT + 'exec: "/etc": is a directory: permission denied'),
    (
        {"Cmd": ["/etc/passwd/x"]}, 400, 127,
        INIT + 'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory' + WRONG_KIND,
    ),
    ({"User": "ghost"}, 500, 128, "unable to find user ghost: no matching entries in passwd file"),
    ({"User": "0:ghost"}, 500, 128, "unable to find group ghost: no matching entries in group file"),
    (
        {"HostConfig": {"Sysctls": {"kernel.msgmax": "abc"}}}, 500, 128,
        INIT + 'failed to write sysctl kernel.msgmax = "abc": ',
    ),
    ({"HostConfig": {"Sysctls": {"net.ipv4.nosuch": "1"}}}, 400, 127, INIT + "open sysctl net.ipv4.nosuch file: "),
    (
        {"HostConfig": {"Sysctls": {"net.ipv4.ip_forward": "1"}, "NetworkMode": "host"}}, 500, 128,
        CREATE + 'sysctl "net.ipv4.ip_forward" not allowed in host network namespace',
    ),
    (
        {"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 1 << 40, "Hard": 1 << 40}]}}, 500, 128,
        INIT + "error setting rlimits for ready process: error setting rlimit type 7: operation not permitted",
    ),
    (
        {"HostConfig": {"Devices": [{"PathOnHost": "/dev/nosuch", "PathInContainer": "/dev/x"}]}}, 500, 128,
        'error gathering device information while adding custom device "/dev/nosuch": no such file or directory',
    ),
    (
        {"HostConfig": {"BlkioDeviceReadBps": [{"Path": "/dev/nosuch", "Rate": 1000}]}}, 500, 128,
        "stat /dev/nosuch: no such file or directory",
    ),
    ({"HostConfig": {"Tmpfs": {"/x": "nosuchopt"}}}, 500, 128, 'invalid tmpfs option "nosuchopt"'),
    (
        {"HostConfig": {"Mounts": [
            {"Type": "volume", "Source": "sub", "Target": "/x", "VolumeOptions": {"Subpath": "no/such"}}
        ]}}, 404, 128, "cannot access path ",
    ),
    (
        {"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "198.51.100.9"}]}}}, 500, 128,
        NETWORKING + "driver failed programming external connectivity on endpoint ",
    ),
    ({"HostConfig": {"NetworkMode": "nosuch"}}, 404, 128, NETWORKING + "network nosuch not found"),
    (
        {"HostConfig": {"NetworkMode": "container:nosuch"}}, 500, 128,
        "joining network namespace of container: No such container: nosuch",
    ),
]  # fmt: skip


def test_each_has_the_status_message_and_exit_code(api, containers):
    for body, status, code, message in STARTS:
        id = containers(start=False, **{"Cmd": ["true"], **body})
        answer = api.ask("POST", f"/containers/{id}/start")
        state = api.state(id)
        told = (answer.status, answer.message[: len(message)], state["ExitCode"])
        assert told == (status, message, code), answer
        assert (state["Status"], state["Error"]) == ("created", answer.message)
    assert api.ask("POST", f"/containers/{id}/restart").message.startswith("Cannot restart container ")
    api.ask("DELETE", "/volumes/sub?force=1")


@pytest.mark.parametrize(("source", "target", "kinds"), [
    ("/etc/passwd", "/bin", "the source is a file, and a directory is there in the image"),
    ("/etc", "/etc/passwd", "the source is a directory, and a file is there in the image"),
])  # fmt: skip
def test_a_mount_of_the_wrong_kind_says_which_kinds_meet(api, containers, source, target, kinds):
    id = containers("true", start=False, HostConfig={"Binds": [f"{source}:{target}"]})
    answer = api.ask("POST", f"/containers/{id}/start")
    assert answer.status == 400
    assert answer.message.startswith(f'{INIT}error mounting "{source}" to rootfs at "{target}": mount src={source}')
    assert answer.message.endswith(f"not a directory{WRONG_KIND}")
    assert answer.json["hint"] == kinds


def test_what_others_have_is_named(api, containers):
    ports = {"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]}}}
    idle = containers("true", start=False, name="idle-one")
    owner = containers("sleep", "60", name="owner", **ports)
    port = api.ask("GET", f"/containers/{owner}/json").json["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
    ports["HostConfig"] = {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]}}
    for body, status, message, hint in (
        (
            ports, 500, f"{NETWORKING}driver failed programming external connectivity on endpoint late (",
            f"port 127.0.0.1:{port}/tcp is already in use by container owner: stop that container",
        ),
        ({"HostConfig": {"Links": [f"{idle}:x"]}}, 500, "Cannot link to a non running container: /idle-one AS /late/x", ""),
        (
            {"HostConfig": {"NetworkMode": f"container:{idle}"}}, 409,
            "cannot join network namespace of a non running container: container idle-one is created", "",
        ),
    ):  # fmt: skip
        id = containers("true", start=False, name="late", **body)
        answer = api.ask("POST", f"/containers/{id}/start")
        assert (answer.status, answer.message[: len(message)]) == (status, message)
        assert answer.json.get("hint", "").startswith(hint)
        if hint:
            assert answer.message.endswith(f"): Bind for 127.0.0.1:{port} failed: port is already allocated")
        api.remove(id)


def test_execs_end_with_the_same_codes(api, containers):
    id = containers("sleep", "60")
    failed = "OCI runtime exec failed: exec failed: unable to start container process: "
    for body, code, message in (
        ({"Cmd": ["/etc"]}, 126, 'exec: "/etc": is a directory: permission denied'),
        ({"Cmd": ["nosuch"]}, 127, 'exec: "nosuch": executable file not found in $PATH'),
        (
            {"Cmd": ["true"], "WorkingDir": "/etc/passwd"}, 127,
            'chdir to cwd ("/etc/passwd") set in config.json failed: not a directory' + WRONG_KIND,
        ),
    ):  # fmt: skip
        one = api.ask("POST", f"/containers/{id}/exec", body).json["Id"]
        answer = api.ask("POST", f"/exec/{one}/start", {"Detach": True})
        assert (answer.status, answer.message) == (400, failed + message)
        assert api.ask("GET", f"/exec/{one}/json").json["ExitCode"] == code


def test_what_lies_in_the_place_of_a_name_file_does_not_keep_a_container_from_starting(
    api, containers, shared_home, tmp_path
):
    id = containers("cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", start=False, Hostname="named")
    directory = shared_home.root / "containers" / id
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    for name, lie in (("hosts", "hosts"), ("hostname", str(elsewhere)), ("resolv.conf", None)):
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(lie) if lie else (directory / name / "below").mkdir(parents=True)
    assert api.ask("POST", f"/containers/{id}/start").status == 204
    assert api.wait(id) == 0
    said = api.ask("GET", f"/containers/{id}/logs?stdout=1").body
    assert b"localhost" in said
    assert b"named\n" in said
    assert b"nameserver" in said
    assert elsewhere.read_text() == "kept"
