"""`up`, `create`, `down`, `scale`: what is created, what is recreated, what stays."""

import json
import re
from datetime import datetime

import pytest

from tests.support.project import eventually

pytestmark = pytest.mark.root

SLEEP = "image: busybox, init: true, command: sleep infinity"
PAIR = f"""
services:
  web:
    {{{SLEEP}, depends_on: {{db: {{condition: service_started, restart: true}}}}}}
  db: {{{SLEEP}, volumes: ["data:/data", "/anonymous"]}}
volumes:
  data:
"""


def ids(project):
    return {c["Name"]: c["ID"] for found in project.containers().values() for c in found}


def test_everything_carries_the_labels_of_the_reference(stack):
    project = stack(PAIR)
    project.skiff("up", "-d")
    prefix = "com.docker.compose."
    labels = project.inspect("web")["Config"]["Labels"]
    hashed = labels.pop(f"{prefix}config-hash")
    assert len(hashed) == 64
    assert labels.pop("dev.skiff.inputs")
    assert labels == {
        f"{prefix}project": project.name,
        f"{prefix}service": "web",
        f"{prefix}container-number": "1",
        f"{prefix}oneoff": "False",
        f"{prefix}depends_on": "db:service_started:true",
        f"{prefix}image": project.inspect("web")["Image"],
        f"{prefix}project.config_files": str(project.folder / "compose.yaml"),
        f"{prefix}project.working_dir": str(project.folder),
        f"{prefix}version": "5.5.0",
    }
    network = project.home.get(f"/networks/{project.name}_default")["Labels"]
    assert (network[f"{prefix}network"], network[f"{prefix}project"]) == ("default", project.name)
    volume = project.home.get(f"/volumes/{project.name}_data")["Labels"]
    assert (volume[f"{prefix}volume"], len(volume[f"{prefix}config-hash"])) == ("data", 64)
    (project.folder / "other.env").write_text("A=1\n")
    project.skiff("--env-file", "other.env", "up", "-d", "--force-recreate", "web")
    after = project.inspect("web")["Config"]["Labels"]
    assert after[f"{prefix}project.environment_file"] == str(project.folder / "other.env")
    assert len(after[f"{prefix}replace"]) == 64


def test_only_what_changed_is_recreated_and_those_who_want_it_are_restarted(stack):
    project = stack(PAIR)
    project.skiff("up", "-d")
    before, began = ids(project), project.inspect("web")["State"]["StartedAt"]
    project.skiff("exec", "-T", "db", "sh", "-c", "echo kept > /anonymous/file; echo kept > /data/file")
    assert "Recreate" not in project.skiff("up", "-d").stderr
    assert ids(project) == before
    project.write(PAIR.replace("volumes: [", "environment: {CHANGED: 1}, volumes: ["))
    said = project.skiff("up", "-d").stderr
    order = [line.split()[1:] for line in said.splitlines() if "web-1" in line or "Recreated" in line]
    assert " db: environment.CHANGED set to 1 → recreate\n" in said
    assert " web: it is restarted with db → restart\n" in said
    name = project.name
    assert order == [
        [f"{name}-web-1", "Stopping"],
        [f"{name}-web-1", "Stopped"],
        [f"{name}-db-1", "Recreated"],
        [f"{name}-web-1", "Starting"],
        [f"{name}-web-1", "Started"],
    ]
    after = ids(project)
    assert after[f"{name}-web-1"] == before[f"{name}-web-1"]
    assert after[f"{name}-db-1"] != before[f"{name}-db-1"]
    assert project.inspect("web")["State"]["StartedAt"] != began
    assert project.skiff("exec", "-T", "db", "cat", "/anonymous/file", "/data/file").stdout == "kept\nkept\n"
    project.skiff("up", "-d", "-V", "--force-recreate", "db")
    assert project.skiff("exec", "-T", "db", "ls", "/anonymous").stdout == ""
    assert project.skiff("up", "-d", "--no-recreate", "--pull", "never").stderr.count("Running") == 2


def test_a_changed_network_is_recreated_and_its_containers_are_moved_to_it(stack):
    text = f"services:\n  web: {{{SLEEP}}}\nnetworks:\n  default: {{labels: {{a: '1'}}}}\n"
    project = stack(text)
    project.skiff("up", "-d")
    before = project.home.get(f"/networks/{project.name}_default")
    project.write(text.replace("'1'", "'2'"))
    said = project.skiff("up", "-d").stderr
    after = project.home.get(f"/networks/{project.name}_default")
    assert (after["Labels"]["a"], after["Id"] != before["Id"]) == ("2", True)
    assert f"Container {project.name}-web-1 Connected" in said
    assert "Recreated" not in said
    assert project.states() == {f"{project.name}-web-1": "running"}
    assert [id[:12] for id in after["Containers"]] == list(ids(project).values())


def test_a_changed_volume_is_kept_until_the_user_lets_it_go(stack):
    text = f"services:\n  db: {{{SLEEP}, volumes: ['data:/data']}}\nvolumes:\n  data: {{labels: {{a: '1'}}}}\n"
    project = stack(text)
    project.skiff("up", "-d")
    project.skiff("exec", "-T", "db", "touch", "/data/file")
    project.write(text.replace("'1'", "'2'"))
    said = project.skiff("up", "-d", input="n\n").stderr
    assert "exists but doesn't match configuration in compose file. Recreate (data will be lost)?" in said
    assert project.skiff("exec", "-T", "db", "ls", "/data").stdout == "file\n"
    project.skiff("up", "-d", "-y")
    assert project.skiff("exec", "-T", "db", "ls", "/data").stdout == ""
    assert project.home.get(f"/volumes/{project.name}_data")["Labels"]["a"] == "2"


def test_replicas_are_numbered_behind_the_last_and_taken_from_the_end(stack):
    project = stack(f"services:\n  web: {{{SLEEP}}}\n")
    name = project.name
    project.skiff("up", "-d", "--scale", "web=3")
    assert sorted(project.states()) == [f"{name}-web-1", f"{name}-web-2", f"{name}-web-3"]
    project.skiff("scale", "web=1")
    assert sorted(project.states()) == [f"{name}-web-1"]
    project.skiff("rm", "-fs", "web")
    project.skiff("scale", "web=0")
    assert project.states() == {}
    project.write(f"services:\n  web: {{{SLEEP}, container_name: {name}-own}}\n")
    project.skiff("up", "-d")
    assert project.states() == {f"{name}-own": "running"}
    said = project.refused("up", "-d", "--scale", "web=2")
    assert f'service "web" is using the custom container name "{name}-own"' in said
    assert project.states() == {f"{name}-own": "running"}


def test_containers_of_gone_services_are_reported_and_removed_when_wanted(stack):
    project = stack(f"services:\n  web: {{{SLEEP}}}\n  old: {{{SLEEP}}}\n")
    project.skiff("up", "-d")
    project.write(f"services:\n  web: {{{SLEEP}}}\n")
    assert f"Found orphan containers ([{project.name}-old-1])" in project.skiff("up", "-d").stderr
    assert "orphan" not in project.skiff("up", "-d", env={"COMPOSE_IGNORE_ORPHANS": "true"}).stderr
    both = project.refused("up", "-d", "--remove-orphans", env={"COMPOSE_IGNORE_ORPHANS": "1"})
    assert "cannot combine COMPOSE_IGNORE_ORPHANS and --remove-orphans" in both
    assert project.skiff("ps", "--services").stdout == "old\nweb\n"
    assert project.skiff("ps", "--services", "--orphans=false").stdout == "web\n"
    project.skiff("up", "-d", env={"COMPOSE_REMOVE_ORPHANS": "1"})
    assert project.skiff("ps", "-a", "--services").stdout == "web\n"


def test_profiles_are_enabled_by_flag_by_variable_and_by_name(stack):
    project = stack(f"services:\n  web: {{{SLEEP}}}\n  debug: {{{SLEEP}, profiles: [tools]}}\n")
    project.skiff("up", "-d")
    assert project.skiff("ps", "--services").stdout == "web\n"
    project.skiff("up", "-d", "debug")
    assert project.skiff("ps", "--services").stdout == "debug\nweb\n"
    assert "orphan" not in project.skiff("up", "-d").stderr
    project.skiff("--profile", "tools", "stop", "-t", "0", "debug")
    said = project.skiff("up", "-d", env={"COMPOSE_PROFILES": "tools"}).stderr
    assert f"Container {project.name}-debug-1 Started" in said


def test_one_that_has_to_complete_is_waited_for(stack):
    project = stack(
        f"""
services:
  web: {{{SLEEP}, depends_on: {{setup: {{condition: service_completed_successfully}}}}}}
  setup: {{image: busybox, command: "sh -c 'sleep 0.3; echo did it'"}}
"""
    )
    project.skiff("up", "-d")
    found = project.containers()
    assert (found["setup"][0]["State"], found["setup"][0]["ExitCode"]) == ("exited", 0)
    ended = project.inspect("setup")["State"]["FinishedAt"]
    assert project.inspect("web")["State"]["StartedAt"] >= ended


def test_a_disabled_health_check_is_none(stack):
    check = "healthcheck: {disable: true}"
    project = stack(f"services:\n  web: {{{SLEEP}, {check}}}\n  off: {{{SLEEP}, healthcheck: {{test: [NONE]}}}}\n")
    project.skiff("up", "-d", "--wait")
    assert "Health" not in project.inspect("web")["State"]
    assert project.inspect("web")["Config"]["Healthcheck"]["Test"] == ["NONE"]


def test_wait_gives_up_after_its_time_with_what_the_probe_said(stack):
    project = stack(
        f"services:\n  web: {{{SLEEP}, healthcheck: {{test: 'echo not yet; false', interval: 50ms, retries: 1000}}}}\n"
    )
    said = project.refused("up", "--wait", "--wait-timeout", "1")
    assert "application not healthy after 1s" in said
    assert f"container {project.name}-web-1 is starting" in said
    assert "not yet" in said


def test_create_makes_without_starting_and_start_starts_in_order(stack):
    project = stack(PAIR)
    project.skiff("create")
    assert set(project.states().values()) == {"created"}
    said = project.skiff("start").stderr
    assert said.index("db-1 Started") < said.index("web-1 Starting")
    assert set(project.states().values()) == {"running"}
    assert project.skiff("start").stderr == ""
    project.skiff("up", "--no-start", "--force-recreate")
    assert set(project.states().values()) == {"created"}


def test_a_dry_run_shows_everything_and_does_nothing(stack):
    project = stack(PAIR)
    said = project.skiff("up", "-d", "--dry-run").stderr
    assert f" DRY-RUN MODE - Container {project.name}-web-1 Started" in said
    assert project.states() == {}
    project.skiff("up", "-d")
    for command in (["down", "-v"], ["stop"], ["restart"], ["kill"], ["rm", "-fs"], ["pause"]):
        said = project.skiff("--dry-run", *command).stderr
        assert f" DRY-RUN MODE - Container {project.name}-web-1" in said
    assert set(project.states().values()) == {"running"}
    assert "no dry-run mode" in project.refused("--dry-run", "exec", "web", "true")


def test_down_stops_dependants_first_and_takes_what_was_asked(stack):
    project = stack(PAIR)
    project.skiff("up", "-d")
    project.skiff("down", "-t", "1", "web")
    assert project.states() == {f"{project.name}-db-1": "running"}
    project.skiff("up", "-d")
    said = project.skiff("down", "-t", "1").stderr
    assert said.index("web-1 Stopped") < said.index("db-1 Stopping")
    assert said.index("db-1 Removed") < said.index(f"Network {project.name}_default Removed")
    assert "Volume" not in said
    assert project.skiff("volumes", "-q").stdout == f"{project.name}_data\n"
    assert project.skiff("down", "-v").stderr.count("Removed") == 1
    assert f'No resource found to remove for project "{project.name}"' in project.skiff("down").stderr


def test_a_recreated_stack_leaves_no_volume_behind(stack):
    project = stack(PAIR)
    project.skiff("up", "-d")
    held = {mount["Name"] for mount in project.inspect("db")["Mounts"]}
    project.write(PAIR.replace("init: true", "init: true, labels: {a: b}"))
    project.skiff("up", "-d")
    assert {mount["Name"] for mount in project.inspect("db")["Mounts"]} == held
    project.skiff("down", "-v", "-t", "0")
    left = {volume["Name"] for volume in project.home.get("/volumes")["Volumes"] or ()}
    assert not held & left


def test_a_name_alone_takes_down_what_runs_under_it(stack, tmp_path):
    project = stack(PAIR)
    project.skiff("up", "-d")
    project.home.skiff("-p", project.name, "stop", "-t", "0", cwd=tmp_path)
    assert set(project.states().values()) == {"exited"}
    said = project.home.skiff("-p", project.name, "start", cwd=tmp_path).stderr
    assert said.index("db-1 Started") < said.index("web-1 Starting")
    project.home.skiff("down", "-v", "-t", "0", cwd=tmp_path, env={"COMPOSE_PROJECT_NAME": project.name})
    assert project.states() == {}


def test_two_projects_may_have_networks_of_one_name(stack):
    text = f"services:\n  web: {{{SLEEP}, networks: [front]}}\nnetworks:\n  front: {{}}\n"
    one, two = stack(text), stack(text)
    one.skiff("up", "-d")
    two.skiff("up", "-d")
    one.skiff("down", "-t", "0")
    assert two.states() == {f"{two.name}-web-1": "running"}
    assert two.skiff("exec", "-T", "web", "nslookup", "web").returncode == 0


def test_what_others_own_is_used_and_left_alone(stack):
    owner = stack(f"services:\n  web: {{{SLEEP}, volumes: ['data:/data']}}\nvolumes:\n  data:\n")
    owner.skiff("up", "-d")
    user = stack(
        f"""
services:
  web: {{{SLEEP}, networks: [front], volumes: ["data:/data"]}}
networks:
  front: {{name: {owner.name}_default, external: true}}
volumes:
  data: {{name: {owner.name}_data, external: true}}
"""
    )
    user.skiff("up", "-d")
    user.skiff("exec", "-T", "web", "touch", "/data/seen")
    assert owner.skiff("exec", "-T", "web", "ls", "/data").stdout == "seen\n"
    said = user.skiff("down", "-v", "-t", "0").stderr
    assert "Network" not in said
    assert owner.skiff("volumes", "-q").stdout == f"{owner.name}_data\n"


def test_an_image_is_built_when_asked_and_by_policy_only(stack):
    project = stack("services:\n  web: {build: ., init: true, command: sleep infinity}\n", Dockerfile="FROM busybox\n")
    assert "--no-build forbids" in project.refused("up", "-d", "--no-build")
    assert "Built" in project.skiff("up", "-d").stderr
    first = ids(project)
    (project.folder / "Dockerfile").write_text("FROM busybox\nENV A=1\n")
    assert "Built" not in project.skiff("up", "-d").stderr
    assert ids(project) == first
    assert "Recreated" in project.skiff("up", "-d", "--build").stderr
    assert "A=1" in project.inspect("web")["Config"]["Env"]
    second = ids(project)
    project.skiff("up", "-d", "--build", "--quiet-build")
    assert ids(project) == second
    shown = json.loads(project.skiff("images", "--format", "json").stdout)
    assert [(one["ContainerName"], one["Repository"]) for one in shown] == [
        (f"{project.name}-web-1", f"{project.name}-web")
    ]
    project.skiff("down", "--rmi", "local", "-t", "0")
    assert project.home.skiff("image", "ls", "-q", f"{project.name}-web").stdout == ""


def test_compatibility_names_containers_with_underscores(stack):
    project = stack(f"services:\n  web: {{{SLEEP}}}\n")
    project.skiff("--compatibility", "up", "-d")
    assert list(project.states()) == [f"{project.name}_web_1"]


def test_no_more_than_the_limit_is_done_at_once(stack):
    project = stack("services:\n" + "".join(f"  s{n}: {{{SLEEP}}}\n" for n in range(3)))
    said = [line for line in project.skiff("--parallel", "1", "up", "-d").stderr.splitlines() if "Container" in line]
    pairs = list(zip(said[::2], said[1::2], strict=True))
    assert all(begun.split()[1] == ended.split()[1] for begun, ended in pairs)
    assert "must be an integer" in project.refused("up", "-d", env={"COMPOSE_PARALLEL_LIMIT": "many"})


def test_an_image_is_renewed_by_policy_only_when_its_time_is_over(stack):
    project = stack(f"services:\n  web: {{{SLEEP}, pull_policy: daily}}\n")
    project.skiff("up", "-d")
    assert project.states() == {f"{project.name}-web-1": "running"}
    project.write(f"services:\n  web: {{{SLEEP}, pull_policy: every_1s}}\n")
    tagged = project.home.get("/images/busybox/json")["Metadata"]["LastTagTime"]
    eventually(lambda: project.home.get("/skiff/v1/engine")["time"] > datetime.fromisoformat(tagged).timestamp() + 1)
    assert "image busybox: " in project.refused("up", "-d")  # no registry has it
    assert project.states() == {f"{project.name}-web-1": "running"}


def test_a_wait_takes_what_has_ended_well_as_done(stack):
    project = stack(f"services:\n  job: {{image: busybox, command: 'true'}}\n  web: {{{SLEEP}}}\n")
    done = project.skiff("up", "-d", "--wait")
    assert f"Container {project.name}-job-1 Exited" in done.stderr
    assert project.states() == {f"{project.name}-job-1": "exited", f"{project.name}-web-1": "running"}


LOOP = """
services:
  app:
    image: busybox
    restart: on-failure:%d
    volumes: [state:/s]
    command: >-
      sh -c "n=$$(cat /s/n 2>/dev/null || echo 0); echo $$((n+1)) > /s/n; [ $$n -ge 2 ] || { echo crash; exit 3; }; exec sleep 99"
    init: true
    healthcheck: {test: "test $$(cat /s/n) = 3", interval: 100ms, retries: 20, start_period: 20s}
  dep: {image: busybox, init: true, command: sleep 1000, depends_on: {app: {condition: service_healthy}}}
volumes: {state: }
"""


def test_a_wait_goes_on_while_the_restart_policy_does(stack):
    done = stack(LOOP % 5).skiff("up", "-d", "--wait")
    assert re.search(r"-app-1 Exited \(3\)(, 2nd time in \d+ s)?: crash\n", done.stderr)
    assert "-app-1 Healthy" in done.stderr


def test_a_wait_ends_when_the_restart_policy_is_used_up(stack):
    project = stack(LOOP % 1)
    assert f"container {project.name}-app-1 exited (3)" in project.refused("up", "-d", "--wait")
