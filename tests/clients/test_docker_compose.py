"""The real docker compose and `skiff`, in turns, on one engine of ours: neither recreates what the other has made."""

import json

import pytest

from tests.unit.plan.recorded_hashes import MODEL, SINCE_5

pytestmark = pytest.mark.root

STACK = """
name: turns
services:
  plain: {image: busybox, command: [sleep, "1000"]}
  command: {image: busybox, command: 'sh -c "sleep 1000 && true > /dev/null"', entrypoint: [env]}
  settings:
    image: busybox
    command: [sleep, "1000"]
    cap_add: [NET_ADMIN]
    cap_drop: [MKNOD]
    cpus: 0.5
    cpu_shares: 73
    devices: [/dev/null:/dev/none:r]
    dns: [127.0.0.53]
    dns_search: [example.org]
    environment: {A: "x<y>&z", B: 1, C: true, D: ""}
    expose: [80, 90/udp]
    extra_hosts: ["other:10.1.2.3"]
    group_add: ["10", "1000"]
    healthcheck: {test: [CMD, "true"], interval: 1m30s, retries: 2, start_period: 5s}
    hostname: named
    init: true
    labels: {b: "1", a: "<x>"}
    logging: {driver: json-file, options: {max-size: 10m}}
    mem_limit: 64m
    oom_score_adj: 100
    pids_limit: 50
    read_only: true
    restart: on-failure:3
    security_opt: [no-new-privileges]
    shm_size: 8m
    stdin_open: true
    stop_grace_period: 1m
    stop_signal: SIGUSR1
    sysctls: {net.ipv4.ip_forward: 0}
    tmpfs: [/run, "/scratch:size=1m"]
    tty: true
    ulimits: {nofile: {soft: 100, hard: 200}, nproc: 300}
    user: "1000:1000"
    working_dir: /tmp
  deployed:
    image: busybox
    command: [sleep, "1000"]
    deploy:
      replicas: 2
      labels: {tier: back}
      resources: {limits: {cpus: "0.25", memory: 50M, pids: 20}, reservations: {memory: 20M}}
      restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3}
  networked:
    image: busybox
    command: [sleep, "1000"]
    networks: {front: {aliases: [web, www]}, back: {ipv4_address: 10.213.77.9, priority: 10}}
    ports: ["127.0.0.1::80", {target: 90, protocol: udp, host_ip: 127.0.0.1}]
    depends_on: {settings: {condition: service_started}}
  stored:
    image: busybox
    command: [sleep, "1000"]
    volumes:
      - data:/data
      - {type: volume, source: data, target: /again, read_only: true, volume: {nocopy: true}}
      - {type: tmpfs, target: /cache, tmpfs: {size: 1m}}
    configs: [{source: text, target: /etc/text}]
    secrets: [word]
  shared: {image: busybox, command: [sleep, "1000"], network_mode: "service:networked", pid: "service:plain"}
  further:
    image: busybox
    command: [sleep, "1000"]
    annotations: {b: "<1>", a: "&"}
    attach: false
    blkio_config: {weight: 300}
    cgroup: private
    container_name: turns-further
    cpuset: "0"
    develop: {watch: [{path: ., action: sync, target: /watched}]}
    device_cgroup_rules: ["c 1:3 mr"]
    dns_opt: [use-vc]
    domainname: example.org
    external_links: [turns-plain-1:aside]
    ipc: shareable
    label_file: labels.env
    links: [plain, "plain:other"]
    mac_address: 02:42:ac:11:65:43
    mem_limit: 64m
    mem_reservation: 32m
    mem_swappiness: 60
    memswap_limit: 128m
    oom_kill_disable: false
    platform: linux/amd64
    post_start: [{command: [touch, /begun], user: root, environment: {A: "1"}}]
    pre_stop: [{command: "true", privileged: true, working_dir: /tmp}]
    pull_policy: missing
    userns_mode: host
    uts: host
    volumes_from: ["stored:ro"]
  quota: {extends: command, privileged: true, cpu_period: 100000, cpu_quota: 50000, use_api_socket: false, ipc: "service:further"}
networks:
  front: {labels: {kind: front}}
  back: {ipam: {config: [{subnet: 10.213.77.0/24}]}}
volumes: {data: {labels: {keep: "yes"}}}
configs: {text: {content: "some text"}}
secrets: {word: {file: values.env}}
"""


@pytest.fixture
def project(docker_cli, tmp_path):
    (tmp_path / "compose.yaml").write_text(STACK)
    (tmp_path / "values.env").write_text("FROM_FILE=one two\n")
    (tmp_path / "labels.env").write_text("from=file\n")
    yield tmp_path
    docker_cli.home.skiff("down", "-v", "-t", "0", cwd=tmp_path)


@pytest.fixture
def brings_up(docker_cli, project):
    """Brings the stack up by `docker compose` or by `skiff`, and returns its containers: names with IDs."""

    def up(by):
        if by == "docker compose":
            said = docker_cli("compose", "up", "-d", cwd=project)
        else:
            done = docker_cli.home.skiff("up", "-d", cwd=project)
            said = done.stdout + done.stderr
        assert "Recreate" not in said
        lines = docker_cli("ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.ID}}").splitlines()
        return {name: id for name, id in map(str.split, lines) if name.startswith("turns-")}

    return up


@pytest.mark.parametrize("first", ["docker compose", "skiff"])
def test_neither_recreates_what_the_other_has_made(first, brings_up):
    second = {"docker compose": "skiff", "skiff": "docker compose"}[first]
    made = brings_up(first)
    assert len(made) == 10
    assert brings_up(second) == made
    assert brings_up(first) == made


def test_what_is_hashed_otherwise_since_5_0_is_taken_over_as_well(docker_cli, project, brings_up):
    """Files of variables and bind mounts: the containers of 2.40 stay; their digests are 5.x's when `skiff` makes them."""
    services = {"env_file": "values.env", "volumes": ["./values.env:/values:ro"]}
    more = {"services": {"plain": services, "stored": services}}
    (project / "compose.override.yaml").write_text(json.dumps(more))
    made = brings_up("docker compose")
    assert brings_up("skiff") == made


def test_either_takes_down_what_the_other_has_made(docker_cli, project, brings_up):
    brings_up("docker compose")
    docker_cli.home.skiff("down", "-v", "-t", "0", cwd=project)
    assert brings_up("skiff")
    docker_cli("compose", "down", "-v", "-t", "0", cwd=project)
    left = docker_cli("ps", "-aq") + docker_cli("network", "ls", "-q", "-f", "name=turns")
    assert not left + docker_cli("volume", "ls", "-q", "-f", "name=turns")


def test_both_print_one_hash_for_every_service(docker_cli, project):
    theirs = docker_cli("compose", "config", "--hash", "*", cwd=project).split("\n")
    ours = docker_cli.home.skiff("config", "--hash", "*", cwd=project).stdout.split("\n")
    assert sorted(filter(None, ours)) == sorted(filter(None, theirs))


def test_both_print_one_hash_for_every_attribute_in_all_its_forms(docker_cli, tmp_path):
    """Those of 5.x are recorded where it has others: what 2.40 prints of these services is known as a former hash."""
    (tmp_path / "compose.yaml").write_text(MODEL)
    arguments = ("--profile", "*", "config", "--hash", "*")
    theirs = hashes(docker_cli("compose", *arguments, cwd=tmp_path, NAME="value"))
    ours = hashes(docker_cli.home.skiff(*arguments, cwd=tmp_path, env={"NAME": "value"}).stdout)
    assert {name for name in theirs.keys() | ours.keys() if ours.get(name) != theirs.get(name)} == SINCE_5.keys()


def hashes(said):
    """Hashes by the service's name."""
    return dict(line.split() for line in said.splitlines() if len(line.split()) == 2)


def test_both_write_one_model_in_yaml(docker_cli, project):
    names = ("web10", "web9", "DB_HOST", "DBX", "A02", "A2", "A10", "a.b", "a_b", "a1b", "ab")
    service = {"environment": dict.fromkeys(names, "1"), "labels": dict.fromkeys(names, "x"), "sysctls": {}}
    more = {"services": {"named10": {"image": "busybox", **service}, "named9": {"image": "busybox"}}}
    (project / "compose.override.yaml").write_text(json.dumps(more))
    theirs = docker_cli("compose", "config", cwd=project)
    assert docker_cli.home.skiff("config", cwd=project).stdout == theirs


def test_both_list_containers_in_the_same_json(docker_cli, project, brings_up):
    brings_up("skiff")
    theirs = docker_cli("compose", "ps", "-a", "--format", "json", cwd=project).splitlines()
    ours = docker_cli.home.skiff("ps", "-a", "--format", "json", cwd=project).stdout.splitlines()
    assert ours[0].startswith('{"Command":"')
    assert of(ours) == of(theirs)


def of(lines):
    """Containers by name, without what is of the moment, what 5.x alone has, and the order of labels and networks.

    docker compose prints these in the order of Go's maps, which is another one each time.
    """
    found = map(json.loads, lines)
    left_out = {"RunningFor", "Status", "Engine"}
    return {
        one["Name"]: {key: one[key] for key in one.keys() - left_out}
        | {key: sorted(one[key].split(",")) for key in ("Labels", "Networks")}
        for one in found
    }


def test_what_changes_of_containers_that_docker_compose_made_is_named(docker_cli, project, brings_up):
    brings_up("docker compose")
    changed = {"environment": {"CHANGED": "1"}}
    names = ("plain", "command", "settings", "deployed", "networked", "stored", "further")
    (project / "compose.override.yaml").write_text(json.dumps({"services": dict.fromkeys(names, changed)}))
    said = docker_cli.home.skiff("plan", cwd=project).stdout.splitlines()
    for name in names:
        count = " (2 containers)" if name == "deployed" else ""
        assert f"{name}{count}: environment.CHANGED set to 1 → recreate" in said
    changed = {"command": "true", "volumes": ["./values.env:/values:ro"], "ports": ["127.0.0.1:18098:80"]}
    (project / "compose.override.yaml").write_text(json.dumps({"services": {"plain": changed}}))
    (line,) = (
        each for each in docker_cli.home.skiff("plan", cwd=project).stdout.splitlines() if each.startswith("plain")
    )
    assert line == (
        "plain: command sleep 1000 → true, ports 127.0.0.1:18098:80 added, volumes ./values.env:/values:ro added → recreate"
    )
