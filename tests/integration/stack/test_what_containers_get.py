"""What services get of what their files ask for, as they see it themselves and as Docker's clients are shown it."""

import os
import time

import pytest

pytestmark = pytest.mark.root

SLEEP = "image: busybox, init: true, command: sleep infinity"
ASKED = f"""
services:
  app:
    image: busybox
    init: true
    command: sleep infinity
    user: "1000:1001"
    cap_add: [net_admin, CAP_SYS_ADMIN]
    cap_drop: [mknod]
    stop_grace_period: 0s
    volumes: ["./key:/new/point", "kept:/kept", "./x:/x:ro", "kept:/ro:ro"]
    networks: {{back: {{priority: 100}}, again: }}
    configs: [{{source: motd, target: /in/a/folder}}]
    secrets: [{{source: key, uid: "1000", gid: "1001", mode: 0440}}]
    dns: [192.0.2.53]
  neighbour: {{{SLEEP}, ipc: shareable}}
  sharing: {{{SLEEP}, ipc: "service:neighbour", network_mode: none}}
networks: {{again: , back: }}
volumes: {{kept: }}
configs: {{motd: {{content: hello}}}}
secrets: {{key: {{file: ./key}}}}
"""


def test_what_is_asked_for_is_there_and_shown_as_docker_shows_it(stack):
    project = stack(ASKED, key="secret")
    (project.folder / "x").mkdir()
    (project.folder / "key").chmod(0o600)
    project.skiff("up", "-d")

    def inside(service, *command):
        return project.skiff("exec", service, *command).stdout

    app = project.inspect("app")
    assert app["Config"]["StopTimeout"] == 0
    assert app["HostConfig"]["CapAdd"] == ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]
    assert app["HostConfig"]["CapDrop"] == ["CAP_MKNOD"]
    assert {mount["Destination"]: (mount["Mode"], mount["RW"]) for mount in app["Mounts"]} == {
        "/new/point": ("", True),
        "/kept": ("z", True),
        "/x": ("", False),
        "/ro": ("z", False),
    }
    assert inside("app", "sh", "-c", "stat -c '%u:%g %a' /run/secrets/key; cat /run/secrets/key").split() == [
        "1000:1001",
        "440",
        "secret",
    ]
    assert time.time() - int(inside("app", "stat", "-c", "%Y", "/in/a/folder")) < 60
    assert "# ExtServers: [192.0.2.53]" in inside("app", "cat", "/etc/resolv.conf")
    # once the mount is gone, what it was mounted on is seen
    project.skiff("exec", "-u", "0", "--privileged", "app", "umount", "/new/point")
    assert inside("app", "stat", "-c", "%a", "/new/point") == "644\n"
    # the first network by name is the way out, whatever the priority
    again = app["NetworkSettings"]["Networks"][f"{project.name}_again"]
    assert f"default via {again['Gateway']} " in inside("app", "ip", "route")
    neighbour = project.inspect("neighbour")["Id"]
    assert project.inspect("sharing")["HostConfig"]["IpcMode"] == f"container:{neighbour}"
    with open("/etc/resolv.conf") as file:
        named = [line.strip() for line in file if line.startswith("nameserver")]
    assert set(named) <= set(inside("sharing", "cat", "/etc/resolv.conf").splitlines())


def test_a_secret_of_a_file_with_an_owner_of_its_own_follows_the_file(stack):
    project = stack(
        f"services: {{app: {{{SLEEP}, stop_grace_period: 0s, secrets: [{{source: key, uid: '1000'}}]}}}}\n"
        "secrets: {key: {file: ./key}}\n",
        key="old",
    )
    project.skiff("up", "-d")
    project.skiff("up", "-d")
    first = project.inspect("app")["Id"]
    (project.folder / "key").write_text("new")
    project.skiff("up", "-d")
    assert project.inspect("app")["Id"] != first
    assert project.skiff("exec", "app", "cat", "/run/secrets/key").stdout == "new"


def test_addresses_of_interfaces_that_contradict_are_refused(stack):
    own, other = "mac_address: '02:42:ac:11:65:43'", "mac_address: '02:42:ac:11:65:44'"
    project = stack(f"services: {{app: {{{SLEEP}, {own}, networks: {{n: {{{other}}}}}}}}}\nnetworks: {{n: }}\n")
    assert "the container-wide MAC address must match" in project.refused("up", "-d")


def test_interval_of_the_start_without_a_start_period_is_refused(stack):
    project = stack(f"services: {{app: {{{SLEEP}, healthcheck: {{test: 'true', start_interval: 1s}}}}}}\n")
    assert "healthcheck.start_interval requires healthcheck.start_period to be set" in project.refused("up", "-d")


def test_missing_folders_of_bind_mounts_are_made_for_the_user_of_the_command(stack):
    project = stack(f"services: {{app: {{{SLEEP}, volumes: ['./data/new/db:/data', './data/run:/run']}}}}\n")
    os.chown(project.folder, 12345, 12346)
    project.skiff("up", "-d", env={**project.home.env, "SUDO_UID": "12345"})
    made = [project.folder / name for name in ("data", "data/new", "data/new/db", "data/run")]
    assert [(path.stat().st_uid, path.stat().st_gid) for path in made] == [(12345, 12346)] * 4
    project.skiff("run", "-v", f"{project.folder}/one/two:/two", "app", "true")
    assert (project.folder / "one/two").is_dir()
