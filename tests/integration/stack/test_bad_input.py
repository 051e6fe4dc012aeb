"""What can't be done: each a message with what, where and what to do, exit code 1, and what ran stays as it was."""

import subprocess

import pytest

from tests.conftest import SKIFF
from tests.support.project import Project

pytestmark = pytest.mark.root

SLEEP = "image: busybox, init: true, command: sleep infinity"


@pytest.fixture(scope="module")
def running(stack_home, tmp_path_factory):
    """A stack that runs while its file gets worse and worse."""
    project = Project.of(stack_home, tmp_path_factory.mktemp("bad"), f"name: bad\nservices:\n  web: {{{SLEEP}}}\n")
    project.name = "bad"
    project.skiff("up", "-d")
    yield project
    project.skiff("-p", "bad", "down", "-v", "-t", "0", "--remove-orphans")


BEFORE_ANYTHING = {
    "unknown key": ("web: {image: busybox, comand: x}", ["services.web.comand", 'did you mean "command"?']),
    "wrong type": ("web: {image: busybox, ports: 3}", ["services.web.ports: must be a list, not the number 3"]),
    "cycle": (
        "web: {image: busybox, depends_on: [db]}\n  db: {image: busybox, depends_on: [web]}",
        ["dependency cycle: web -> db -> web"],
    ),
    "bad port": ('web: {image: busybox, ports: ["99999:80"]}', ['services.web.ports[0]: "99999:80"']),
    "missing image that may not be pulled": (
        "web: {image: 'nosuch:1', pull_policy: never}",
        ["service 'web': no such image: nosuch:1, and its pull policy is never", "pull or load it"],
    ),
    "missing image": (
        "web: {image: 'localhost:1/nosuch:1'}",
        ["service 'web': image localhost:1/nosuch:1: the registry localhost:1 can't be reached"],
    ),
    "missing Dockerfile": (
        "web: {build: .}",
        ["service 'web': failed to read dockerfile:", "Dockerfile does not exist", "write it, or name another"],
    ),
    "missing build context": ("web: {build: ./nosuch}", ["the build context does not exist:", "correct build.context"]),
    "failing build step": (
        'web: {build: {dockerfile_inline: "FROM busybox\\nRUN echo the reason; exit 7"}}',
        ["returned a non-zero code: 7", "the reason"],
    ),
    "bind source that must be there": (
        "web: {image: busybox, volumes: [{type: bind, source: /nosuch, target: /x, bind: {create_host_path: false}}]}",
        ["service 'web': the bind source does not exist: /nosuch", "make it"],
    ),
    "bind source that is a misspelt file": (
        "web: {image: busybox, volumes: ['./compose.yml:/etc/settings.yml:ro']}",
        ["service 'web': the bind source does not exist: ", "did you mean ", "/compose.yaml?"],
    ),
    "bind source below a file": (
        "web: {image: busybox, volumes: ['/etc/passwd/x:/x']}",
        ["service 'web': the bind source /etc/passwd/x can't be used: not a directory"],
    ),
    "missing secret": (
        "web: {image: busybox, secrets: [key]}\nsecrets:\n  key: {file: ./nosuch}",
        ["service 'web': the file of secret 'key' does not exist:", "make it, or correct the path"],
    ),
    "secret of a variable that is not set": (
        "web: {image: busybox, secrets: [key]}\nsecrets:\n  key: {environment: NOSUCH_VARIABLE}",
        ["environment variable 'NOSUCH_VARIABLE' required by secret 'key' is not set", "set it"],
    ),
    "external network": (
        "web: {image: busybox, networks: [out]}\nnetworks:\n  out: {external: true}",
        ["network out declared as external, but could not be found", "make it"],
    ),
    "external volume": (
        "web: {image: busybox, volumes: ['out:/x']}\nvolumes:\n  out: {external: true}",
        ['external volume "out" not found', "make it"],
    ),
    "provider": ("web: {provider: {type: cloud}}", ['no provider "cloud" found', "docker-cloud"]),
    "models": (
        "web: {image: busybox, models: [llm]}\nmodels:\n  llm: {model: x}",
        ["'models' support requires Docker Model plugin", "install docker-model"],
    ),
    "gpus": ("web: {image: busybox, gpus: all}", ["asks for devices like GPUs"]),
    "one name for two": (
        "web: {image: busybox, container_name: same}\n  other: {image: busybox, container_name: same}",
        ["same"],
    ),
    "nothing to run": ("web: {image: busybox, profiles: [off]}", ["no service selected", "--profile"]),
}


@pytest.mark.parametrize("case", BEFORE_ANYTHING)
def test_it_is_refused_before_anything_is_touched(running, case):
    text, parts = BEFORE_ANYTHING[case]
    running.write(f"services:\n  {text}\n")
    said = running.refused("up", "-d")
    for part in parts:
        assert part in said, said
    rows = running.home.skiff("-p", "bad", "ps", "--format", "{{.Name}} {{.State}}").stdout
    assert rows == "bad-web-1 running\n"


FAILING = {
    "a folder over a file of the image": (
        "web: {image: busybox, volumes: ['/tmp:/bin/busybox']}",
        [
            'error mounting "/tmp" to rootfs at "/bin/busybox"',
            "the source is a directory, and a file is there",
        ],
    ),
    "a file over a folder of the image": (
        "web: {image: busybox, volumes: ['/etc/passwd:/bin']}",
        ['error mounting "/etc/passwd" to rootfs at "/bin"', "the source is a file, and a directory is there"],
    ),
    "a mount point in a mount that is read-only": (
        "web: {image: busybox, volumes: ['./empty:/host:ro', '/tmp:/host/below:ro']}",
        ['error mounting "/tmp" to rootfs at "/host/below": the mount point is missing there', "read-only file system"],
    ),
    "a program that is not there": (
        "web: {image: busybox, command: nosuchprogram}",
        ["service 'web': ", '-web-1: exec: "nosuchprogram": executable file not found in $PATH'],
    ),
    "a user that is not there": (
        "web: {image: busybox, user: nosuch, command: sleep 1}",
        ["service 'web':", "unable to find user nosuch"],
    ),
    "a service that exits at once, needed by another": (
        "web: {image: busybox, depends_on: {job: {condition: service_completed_successfully}}}\n"
        "  job: {image: busybox, command: \"sh -c 'echo the reason; exit 9'\"}",
        ["dependency job of web failed to start", "didn't complete successfully: exit 9", "the reason"],
    ),
    "a service without a health check, waited for": (
        f"web: {{image: busybox, depends_on: {{db: {{condition: service_healthy}}}}}}\n  db: {{{SLEEP}}}",
        ["dependency db of web failed to start", "has no healthcheck configured", "give the service a healthcheck"],
    ),
    "a capability that is none": ("web: {image: busybox, cap_add: [NOSUCH]}", ["service 'web':", "CAP_NOSUCH"]),
    "a hook that fails": (
        f"web: {{{SLEEP}, post_start: [{{command: \"sh -c 'echo the reason; exit 3'\"}}]}}",
        ["post_start hook 1 exited with status 3", "the reason"],
    ),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_failure_on_the_way_names_the_service_and_the_reason(stack, case):
    text, parts = FAILING[case]
    said = stack(f"services:\n  {text}\n").refused("up", "-d")
    for part in parts:
        assert part in said, said


def test_one_that_exits_at_once_fails_a_wait_with_its_last_lines(stack):
    project = stack("services:\n  web: {image: busybox, command: \"sh -c 'echo the reason; exit 5'\"}\n")
    said = project.refused("up", "-d", "--wait")
    assert f"container {project.name}-web-1 exited (5)" in said
    assert "the reason" in said
    assert project.skiff("up", "-d").returncode == 0  # without --wait it is nobody's failure, as in the reference


def test_a_port_in_use_is_found_before_anything_is_made_and_its_holder_named(stack):
    holder = stack(f"services:\n  web: {{{SLEEP}, ports: ['127.0.0.1::80']}}\n")
    holder.skiff("up", "-d")
    port = holder.skiff("port", "web", "80").stdout.strip().rpartition(":")[2]
    project = stack(f"services:\n  web: {{{SLEEP}, ports: ['127.0.0.1:{port}:80']}}\n")
    said = project.refused("up", "-d")
    assert f"port 127.0.0.1:{port}/tcp is already in use by container {holder.name}-web-1" in said
    assert project.states() == {}
    assert "Network" not in said


def test_a_recreation_that_fails_leaves_the_old_container_running(stack):
    project = stack(f"services:\n  web: {{{SLEEP}}}\n")
    project.skiff("up", "-d")
    before = project.containers()["web"][0]["ID"]
    project.write(f"services:\n  web: {{{SLEEP}, cap_add: [NOSUCH]}}\n")
    assert "CAP_NOSUCH" in project.refused("up", "-d")
    assert [(c["ID"], c["State"]) for c in project.containers()["web"]] == [(before, "running")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frob"], "No such command 'frob'"),
        (["up", "--frob"], "No such option"),
        (["up", "-t", "soon"], "is not a valid integer"),
        (["up", "--scale", "web=x"], "invalid scale 'web=x'"),
        (["up", "--scale", "nosuch=1"], "no such service: nosuch"),
        (["up", "--pull", "sometimes"], 'invalid --pull option "sometimes"'),
        (["up", "--build", "--no-build"], "--build cannot be combined with --no-build"),
        (["up", "--force-recreate", "--no-recreate"], "cannot be combined with"),
        (["up", "--wait=maybe"], 'invalid argument "maybe" for "--wait" flag'),
        (["up", "-d", "nosuch"], "no such service: nosuch"),
        (["down", "--rmi", "some"], 'invalid value for --rmi: "some"'),
        (["logs", "--tail", "few"], "is not a number of lines"),
        (["exec"], "Missing argument 'SERVICE'"),
        (["build", "-m", "much"], "--memory"),
        (["-f", "nosuch.yaml", "ps"], "can't find nosuch.yaml"),
        (["-H", "unix:///nosuch.sock", "ps"], "cannot connect to the engine at unix:///nosuch.sock"),
        (["-H", "ftp://x", "ps"], "unable to parse docker host 'ftp://x'"),
        (["--progress", "loud", "up", "-d"], 'unsupported --progress value "loud"'),
    ],
)
def test_a_mistake_on_the_command_line_is_reported(stack, arguments, said):
    assert said in stack("services:\n  web: {image: busybox}\n").refused(*arguments)


def test_flags_are_taken_as_docker_compose_takes_them(stack):
    project = stack(f"services:\n  web: {{{SLEEP}}}\n")
    project.skiff("up", "--detach=true", "--menu=false", "--wait=false", "--quiet-pull")
    assert project.skiff("exec", "-T", "web", "echo", "--dry-run", "--rm=false").stdout == "--dry-run --rm=false\n"


def test_output_that_cannot_be_written_is_no_bug(stack):
    project = stack(f"services:\n  web: {{{SLEEP}}}\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*SKIFF, "config"], cwd=project.folder, env=project.home.env, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (1, "skiff: writing output: No space left on device\n")
