"""`watch`: files that change here, in containers that run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from compose.watch.delivery import archive, deliver
from runtime.client import Client, EngineAddress, endpoint
from tests.conftest import SKIFF
from tests.support.foreground import Foreground
from tests.support.project import eventually, kill_and_wait, pid_of

pytestmark = pytest.mark.root

SYNC = """
services:
  web:
    image: busybox
    init: true
    command: sleep infinity
    develop: {watch: [{path: src, action: sync, target: /app}]}
"""
BUILT = """
services:
  web:
    build: .
    init: true
    command: sleep infinity
    develop:
      watch:
        - {path: src, action: sync, target: /app}
        - {path: version, action: rebuild}
"""


@pytest.fixture
def watching():
    """Starts `watch --no-up`, or the command that is given; returns once files are watched."""
    made = []

    def start(project, *arguments):
        made.append(Foreground(project, *(arguments or ("watch", "--no-up"))))
        return made[-1].until("Watch enabled")

    yield start
    for one in made:
        one.kill()


def up(project, *arguments):
    """Bring `project` up, with a folder to watch."""
    (project.folder / "src").mkdir()
    project.skiff("up", "-d", *arguments)
    return project.folder / "src"


def inside(project, service="web", number=0):
    """The root of a container as its process sees it."""
    found = project.home.get(f"/containers/{project.name}-{service}-{number + 1}/json")
    return Path(f"/proc/{found['State']['Pid']}/root")


def holds(path, text):
    """Wait until the file `path` holds `text`."""
    eventually(lambda: path.is_file() and path.read_text() == text, what=f"{path} with {text!r}")


def gone(path):
    """Wait until `path` is no more."""
    eventually(lambda: not os.path.lexists(path), what=f"the end of {path}")


def save(path, text):
    """Write a file as editors do: under another name, moved in the old one's place."""
    part = path.with_name(f"{path.name}.new")
    part.write_text(text)
    part.replace(path)


def test_what_is_saved_made_moved_and_removed_here_is_so_in_the_container(stack, watching):
    project = stack(SYNC)
    source = up(project)
    (source / "program").write_text("1")
    there = inside(project) / "app"
    watch = watching(project)
    assert not there.exists()  # nothing changed yet, and no initial sync is asked for

    save(source / "program", "2")
    holds(there / "program", "2")
    (source / "program").chmod(0o750)
    eventually(lambda: (there / "program").stat().st_mode & 0o777 == 0o750)
    # archives have times as decimal numbers, Python reads them as floats
    assert abs((there / "program").stat().st_mtime_ns - (source / "program").stat().st_mtime_ns) < 1000

    (source / "new/deep").mkdir(parents=True)
    (source / "new/deep/file").write_text("deep")
    (source / "new/link").symlink_to("deep/file")
    (source / "empty").mkdir()
    holds(there / "new/deep/file", "deep")
    eventually(lambda: os.path.islink(there / "new/link") and (there / "empty").is_dir())
    assert os.readlink(there / "new/link") == "deep/file"

    (source / "new").rename(source / "moved")
    holds(there / "moved/deep/file", "deep")
    gone(there / "new")
    shutil.rmtree(source / "moved")
    gone(there / "moved")
    (source / "empty").rmdir()
    (source / "empty").write_text("a file by now")
    holds(there / "empty", "a file by now")

    (source / ".program.swp").touch()
    (source / ".git").mkdir()
    (source / ".git/HEAD").touch()
    save(source / "program", "3")
    holds(there / "program", "3")
    assert sorted(os.listdir(there)) == ["empty", "program"]

    watch.until('Syncing service "web" after 1 changes were detected')
    assert watch.interrupt() == 130
    assert watch.said.splitlines()[-1] == "  ⦿ Watch disabled"
    assert project.states() == {f"{project.name}-web-1": "running"}


def test_a_burst_of_changes_arrives_whole_and_in_few_batches(stack, watching):
    project = stack(SYNC)
    source = up(project)
    watch = watching(project)
    there = inside(project) / "app"
    for number in range(1000):
        folder = source / f"package{number % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"module{number}").write_text(str(number))
    last = "package19/module999"
    holds(there / last, "999")
    eventually(lambda: sum(len(names) for _, _, names in os.walk(there)) == 1000)
    assert all((there / f"package{n % 20}/module{n}").read_text() == str(n) for n in range(1000))
    for folder in source.iterdir():
        shutil.rmtree(folder)
    eventually(lambda: not os.listdir(there))
    watch.interrupt()
    assert watch.said.count("Syncing") < 100


def test_files_belong_to_the_user_of_the_container_also_to_be_removed(stack, watching):
    project = stack(SYNC + "    user: app\n")
    source = up(project)
    watching(project)
    (source / "sub").mkdir()
    (source / "sub/file").write_text("x")
    there = inside(project) / "app"
    holds(there / "sub/file", "x")
    owners = [(path.stat().st_uid, path.stat().st_gid) for path in (there / "sub", there / "sub/file")]
    assert owners == [(1000, 1000)] * 2
    shutil.rmtree(source / "sub")
    gone(there / "sub")


def test_names_that_are_no_text_do_not_end_it(stack, watching):
    project = stack(SYNC)
    source = up(project)
    watch = watching(project)
    there = inside(project) / "app"
    odd = os.fsencode(source) + b"/\xff\n-"
    with open(odd, "w") as file:
        file.write("odd")
    (source / "-rf *").write_text("fine")
    holds(there / "-rf *", "fine")
    holds(Path(os.fsdecode(os.fsencode(there) + b"/\xff\n-")), "odd")
    (source / "-rf *").unlink()
    gone(there / "-rf *")
    assert watch.interrupt() == 130


def test_it_outlives_an_engine_and_what_changes_at_the_same_time_arrives(stack_home, stack, watching):
    project = stack(SYNC)
    source = up(project)
    watch = watching(project)
    (source / "file").write_text("1")
    there = inside(project) / "app/file"
    holds(there, "1")
    kill_and_wait(pid_of(stack_home, "engine"))
    (source / "file").write_text("2")
    holds(there, "2")
    (source / "file").write_text("3")
    holds(there, "3")
    assert watch.interrupt() == 130


def test_a_root_that_is_read_only_is_reported_with_what_to_do(stack, watching):
    project = stack(SYNC + "    read_only: true\n")
    source = up(project)
    watch = watching(project)
    (source / "file").touch()
    watch.until("rootfs is marked read-only").until("leave read_only out while you develop")


def test_all_replicas_are_synced_and_one_that_is_new_gets_what_was_synced_before(stack, watching):
    project = stack(SYNC)
    source = up(project, "--scale", "web=2")
    watching(project)
    (source / "file").write_text("1")
    (source / "other").write_text("1")
    for number in (0, 1):
        holds(inside(project, number=number) / "app/other", "1")
    (source / "other").unlink()
    gone(inside(project) / "app/other")
    project.skiff("up", "-d", "--scale", "web=3", "--force-recreate")
    for number in (0, 1, 2):
        holds(inside(project, number=number) / "app/file", "1")
        assert not (inside(project, number=number) / "app/other").exists()
    project.skiff("stop", "-t", "0", "web")
    (source / "file").write_text("2")
    project.skiff("start", "web")
    holds(inside(project) / "app/file", "2")


def test_a_rebuild_rebuilds_the_image_recreates_the_containers_and_prunes(stack, watching):
    project = stack(
        BUILT,
        Dockerfile="FROM busybox\nCOPY src /app\nCOPY version /version\n",
        version="1",
        **{".dockerignore": "src/out"},
    )
    (project.folder / "src").mkdir()
    (project.folder / "src/file").write_text("1")
    watch = watching(project, "watch")
    before, old = project.containers()["web"][0]["ID"], project.inspect("web")["Image"]
    assert (inside(project) / "version").read_text() == "1"
    (project.folder / "src/out").mkdir()
    (project.folder / "src/out/x").touch()
    save(project.folder / "src/file", "2")
    holds(inside(project) / "app/file", "2")
    assert not (inside(project) / "app/out").exists()
    save(project.folder / "version", "2")
    watch.until('service(s) ["web"] successfully built')
    eventually(lambda: [c["ID"] for c in project.containers()["web"]] not in ([before], []))
    eventually(lambda: project.states() == {f"{project.name}-web-1": "running"})
    assert (inside(project) / "version").read_text() == "2"
    assert (inside(project) / "app/file").read_text() == "2"
    images = {image["Id"] for image in project.home.get("/images/json")}
    eventually(lambda: old not in {image["Id"] for image in project.home.get("/images/json")})
    assert project.inspect("web")["Image"] in images
    (project.folder / "Dockerfile").write_text("FROM busybox\nRUN exit 3\n")
    save(project.folder / "version", "3")
    watch.until("Build failed. Error: ")
    assert project.states() == {f"{project.name}-web-1": "running"}
    watch.interrupt()
    assert "⦿ Step 1/3 : FROM busybox" in watch.said


def test_quiet_hides_builds_and_no_prune_keeps_images(stack, watching):
    project = stack(BUILT, Dockerfile="FROM busybox\nCOPY version /\n", version="1")
    (project.folder / "src").mkdir()
    watch = watching(project, "watch", "--quiet", "--no-prune")
    old = project.inspect("web")["Image"]
    save(project.folder / "version", "2")
    eventually(lambda: project.containers().get("web") and project.inspect("web")["Image"] != old)
    assert watch.interrupt() == 130
    assert "Step" not in watch.said
    assert old in {image["Id"] for image in project.home.get("/images/json")}
    project.home.skiff("image", "rm", old)


def test_restarts_and_hooks_follow_a_burst_once(stack, watching):
    project = stack(
        """
services:
  web:
    image: busybox
    command: ["sh", "-c", "echo run >> /runs; exec sleep infinity"]
    init: true
    develop:
      watch:
        - {path: conf, action: sync+restart, target: /etc/conf}
        - {path: flag, action: restart}
        - path: src
          action: sync+exec
          target: /app
          include: "*.py"
          exec:
            command: sh -c "echo $$(id -u) $$PWD $$WORD $$(ls /app) | tee -a /tmp/hooks"
            user: app
            working_dir: /tmp
            environment: [WORD=said]
""",
        flag="",
    )
    (project.folder / "conf").mkdir()
    source = up(project)
    watch = watching(project)
    before = project.inspect("web")["State"]["StartedAt"]
    for name in "abc":
        (source / f"{name}.py").touch()
    (source / "x.txt").touch()
    holds(inside(project) / "tmp/hooks", "1000 /tmp said a.py b.py c.py\n")
    watch.until("1000 /tmp said a.py b.py c.py\n")
    assert project.inspect("web")["State"]["StartedAt"] == before
    for name in "abc":
        (project.folder / f"conf/{name}").touch()
    watch.until('service(s) ["web"] restarted')
    assert sorted(os.listdir(inside(project) / "etc/conf")) == ["a", "b", "c"]
    assert (inside(project) / "runs").read_text() == "run\n" * 2
    save(project.folder / "flag", "1")
    watch.until('service(s) ["web"] restarted', 2)
    assert (inside(project) / "runs").read_text() == "run\n" * 3


def test_a_hook_that_fails_is_reported_and_watching_goes_on(stack, watching):
    project = stack(SYNC.replace("sync,", "sync+exec, exec: {command: \"sh -c 'echo no; exit 7'\"},"))
    source = up(project)
    watch = watching(project)
    (source / "a").touch()
    watch.until("exited with status 7")
    assert "WARN Error handling changed files: container" in watch.said
    assert "\nno\n" in watch.said
    (source / "b").touch()
    watch.until("exited with status 7", 2)


def test_an_initial_sync_brings_all_files_but_those_of_the_stack_itself(stack, watching):
    project = stack(
        SYNC.replace("path: src", "path: .").replace("target:", "initial_sync: true, ignore: [node_modules], target:"),
        Dockerfile="",
    )
    source = up(project)
    for name in ("src/node_modules/x", "node_modules/y"):
        (project.folder / name).parent.mkdir(parents=True)
        (project.folder / name).touch()
    (source / "file").write_text("1")
    watching(project)
    there = inside(project) / "app"
    found = {os.path.relpath(os.path.join(base, name), there) for base, _, names in os.walk(there) for name in names}
    assert found == {"src/file", "src/node_modules/x", "Dockerfile"}


def test_paths_that_come_later_go_and_come_again_are_followed(stack, watching):
    project = stack(SYNC.replace("path: src", "path: later/src") + SYNC[SYNC.index("  web:") :].replace("web", "other"))
    source = up(project)
    watch = watching(project)
    assert f"WARN path '{project.folder}/later/src' does not exist" in watch.said
    (project.folder / "later/src").mkdir(parents=True)
    (project.folder / "later/src/file").write_text("1")
    holds(inside(project) / "app/file", "1")
    save(project.folder / "later/src/file", "2")
    holds(inside(project) / "app/file", "2")
    (source / "file").write_text("1")
    holds(inside(project, "other") / "app/file", "1")
    shutil.rmtree(source)
    gone(inside(project, "other") / "app/file")
    source.mkdir()
    (source / "file").write_text("2")
    holds(inside(project, "other") / "app/file", "2")
    save(source / "file", "3")
    holds(inside(project, "other") / "app/file", "3")


def test_what_can_not_be_watched_is_refused_before_anything_is_made(stack, watching):
    project = stack("services:\n  web: {image: busybox}\n")
    assert "none of the selected services is configured for watch, consider setting a 'develop' section" in (
        project.refused("watch")
    )
    project.write(SYNC.replace("sync, target: /app", "rebuild"))
    assert 'can\'t watch service "web" with action rebuild without a build context' in project.refused("watch")
    assert project.states() == {}
    project.write(SYNC)
    up(project)
    watching(project)
    assert f'cannot take exclusive lock for project "{project.name}": process with PID ' in project.refused("watch")


@pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
def test_that_the_kernel_gives_no_more_watches_is_reported_with_the_cure(stack, limit):
    project = stack(SYNC)
    source = up(project)
    for number in range(9):
        (source / str(number)).mkdir()
    # limits of a user namespace are its own
    number = 5 if limit == "max_inotify_watches" else 0
    script = f'echo {number} > /proc/sys/user/{limit} && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", *SKIFF, "watch", "--no-up"]
    done = subprocess.run(command, cwd=project.folder, env=project.home.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"skiff: can't watch {source}"), done.stderr
    assert "sysctl fs.inotify.max_user_watches" in done.stderr


def test_a_dry_run_shows_the_steps_and_changes_nothing(stack, watching):
    project = stack(SYNC)
    source = up(project)
    watch = watching(project, "--dry-run", "watch", "--no-up")
    (source / "file").touch()
    watch.until('DRY-RUN MODE - Syncing service "web" after 1 changes were detected')
    assert not (inside(project) / "app").exists()


def test_up_watches_next_to_the_merged_output_until_it_is_interrupted(stack, watching):
    project = stack(
        """
services:
  web:
    build: .
    init: true
    command: sh -c "echo version $$(cat /version); exec sleep infinity"
    develop:
      watch:
        - {path: src, action: sync+restart, target: /app}
        - {path: version, action: rebuild}
  other: {image: busybox, init: true, command: sleep infinity}
""",
        Dockerfile="FROM busybox\nCOPY version /\n",
        version="1",
    )
    (project.folder / "src").mkdir()
    up = watching(project, "up", "--watch", "--build")
    up.until("web-1    | version 1")
    (project.folder / "src/file").write_text("1")
    up.until('⦿ service(s) ["web"] restarted').until("web-1    | version 1", 2)
    holds(inside(project) / "app/file", "1")
    save(project.folder / "version", "2")
    up.until("⦿ Step 1/2 : FROM busybox").until("web-1    | version 2")
    holds(inside(project) / "app/file", "1")
    assert up.interrupt() == 130
    assert "⦿ Watch disabled" in up.said
    assert set(project.states().values()) == {"exited"}


def test_up_refuses_what_does_not_go_together_with_watching(stack):
    project = stack(BUILT, Dockerfile="FROM busybox\n", version="")
    assert "--detach cannot be combined with" in project.refused("up", "-d", "--watch")
    assert "--no-build is incompatible with watch action rebuild in service web" in (
        project.refused("up", "--watch", "--no-build")
    )
    project.write("services:\n  web: {image: busybox}\n")
    assert "none of the selected services is configured for watch" in project.refused("up", "--watch")
    assert project.states() == {}


def test_what_is_removed_of_a_container_that_has_just_exited_is_left_for_its_next_start(stack):
    project = stack("services: {once: {image: busybox, command: 'true'}}\n")
    project.skiff("up", "-d")
    project.skiff("wait", "once", check=False)
    client = Client(endpoint({}, f"unix://{project.home.run}/engine.sock"))
    id = project.containers()["once"][0]["ID"]
    assert deliver(client, id, {"/file": "/no/such/file"}, is_running=True) is False


def test_what_is_removed_here_is_gone_in_a_container_that_has_exited_before_it_runs_again(stack):
    project = stack(
        "services:\n  once: {image: busybox, command: ls -A /x /data, volumes: ['data:/data'], working_dir: /x}\n"
        "volumes: {data: {}}\n",
        file="text",
    )
    project.skiff("up")
    client = Client(EngineAddress(path=f"{project.home.run}/engine.sock", is_ours=True), starts=False)
    id = project.containers()["once"][0]["ID"]
    here = str(project.folder / "file")
    both = {f"/{folder}/{name}": here for folder in ("x", "data") for name in ("kept", "gone", "tree/deep")}
    assert deliver(client, id, both, is_running=False)
    client.archive_put(id, "/", archive({"/x/link": here}))
    gone = ("/x/gone", "/x/tree", "/data/gone", "/data/tree", "/x/never", "/x/link")
    assert deliver(client, id, dict.fromkeys(gone, "/no/such/file"), is_running=False)
    said = project.skiff("up", "--no-log-prefix").stdout.split()
    assert [word for word in said if word in ("/x:", "/data:", "kept", "gone", "tree", "link")] == [
        *("/data:", "kept", "/x:", "kept"),
    ]
