"""An unprivileged user without permission: errors say what, where, and what to do."""

import os
import subprocess

import pytest

from compose.plan.project import DesiredProject
from compose.plan.refusals import check_services
from runtime.errors import SkiffError
from tests.conftest import SKIFF, Home
from tests.support.project import Project

pytestmark = [pytest.mark.root, pytest.mark.unprivileged]

UID = 54321
# the user may read what the interpreter is made of, wherever that is; it may write nothing that is not its own
AS_USER = (
    "setpriv",
    f"--reuid={UID}",
    f"--regid={UID}",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)
TEXT = "name: mine\nservices:\n  web: {image: busybox, command: sleep infinity}\n"


def refused(project, *arguments, **environment):
    done = subprocess.run(
        [*AS_USER, *SKIFF, *arguments],
        cwd=project.folder,
        env={**project.home.env, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    return done.stderr


def test_the_socket_of_another_user_is_not_for_them(stack_home, tmp_path):
    stack_home.get("/version")
    project = Project.of(stack_home, tmp_path, TEXT)
    for arguments in (["ps"], ["up", "-d"], ["-H", stack_home.host, "down"]):
        said = refused(project, *arguments)
        assert f"cannot connect to the engine at {stack_home.host}: Permission denied" in said
        assert "run this as the owner of the engine" in said


def test_a_run_directory_that_cannot_be_made_is_named(tmp_path):
    project = Project.of(Home(tmp_path / "root", tmp_path / "run"), tmp_path, TEXT)
    said = refused(project, "up", "-d")
    assert f"{tmp_path / 'run'}: Permission denied: the engine keeps its state" in said
    assert "or $SKIFF_ROOT and $SKIFF_RUN" in said


def test_a_state_root_that_cannot_be_written_is_named(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    os.chown(run, UID, UID)
    project = Project.of(Home(tmp_path / "root", run), tmp_path, TEXT)
    said = refused(project, "up", "-d")
    assert "the engine did not start" in said
    assert f"{tmp_path / 'root'}: Permission denied" in said
    assert "give this user write permission, or name other directories with --root" in said


def as_user(work):
    """Run `work()` in a process of the unprivileged user; return what it returns, a text."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(UID, UID, UID)
            os.setresuid(UID, UID, UID)
            os.write(into, work().encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as file:
        told = file.read()
    os.waitpid(child, 0)
    return told


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("closed/secret", "permission denied"),
        ("closed", "permission denied"),
        ("open/new/folder", "can't be written to"),
    ],
)
def test_a_bind_source_that_the_user_can_neither_read_nor_make_is_refused(tmp_path, name, why):
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    closed, opened = tmp_path / "closed", tmp_path / "open"
    closed.mkdir(mode=0o700)
    (closed / "secret").touch()
    opened.mkdir(mode=0o755)
    volume = {"type": "bind", "source": str(tmp_path / name), "target": "/x"}
    target = DesiredProject("mine", {"services": {"web": {"image": "busybox", "volumes": [volume]}}})

    def check():
        try:
            check_services(target, ["web"], is_ours=True)
        except SkiffError as error:
            return str(error)
        return "nothing was refused"

    said = as_user(check)
    assert f"service 'web': the bind source {tmp_path / name} can't be used: " in said
    assert why in said
