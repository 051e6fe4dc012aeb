"""What the user's Docker configuration and its contexts say to the command line."""

import hashlib
import io
import json

import pytest

from compose.render.display import make_progress
from compose.render.progress import JsonProgress, QuietProgress
from runtime.client import endpoint
from runtime.client.credentials import setting
from runtime.errors import SkiffError


def store(folder, name, host, *, tls=False):
    """Make a context of the docker command line's store, and return the variables that choose it."""
    id = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / id
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))
    if tls:
        (folder / "contexts/tls" / id / "docker").mkdir(parents=True)
    return {"DOCKER_CONFIG": str(folder), "DOCKER_CONTEXT": name}


def test_a_context_says_where_the_engine_is_unless_more_is_said(tmp_path):
    environ = store(tmp_path, "far", "tcp://there:2375")
    assert str(endpoint(environ, None)) == "tcp://there:2375"
    assert str(endpoint({**environ, "DOCKER_HOST": "unix:///x"}, None)) == "unix:///x"
    assert str(endpoint(environ, "unix:///y")) == "unix:///y"
    assert endpoint({**environ, "DOCKER_CONTEXT": "default", "XDG_RUNTIME_DIR": "/run/x"}, None).is_ours


def test_a_context_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(SkiffError, match="context 'none' does not exist"):
        endpoint({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "none"}, None)
    with pytest.raises(SkiffError, match="context 'safe' uses TLS"):
        endpoint(store(tmp_path, "safe", "tcp://there:2376", tls=True), None)


def test_formats_are_those_of_the_configuration(tmp_path):
    (tmp_path / "config.json").write_text('{"psFormat": "table {{.Names}}", "statsFormat": 1}')
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert [setting(environ, name) for name in ("psFormat", "statsFormat", "volumesFormat")] == [
        "table {{.Names}}",
        "",
        "",
    ]


def test_variables_choose_how_and_where_steps_are_shown(capsys):
    out = io.StringIO()
    assert type(make_progress("", "auto", {"BUILDKIT_PROGRESS": "rawjson"}, out)) is JsonProgress
    assert (
        type(make_progress("", "auto", {"BUILDKIT_PROGRESS": "plain", "COMPOSE_PROGRESS": "quiet"}, out))
        is QuietProgress
    )
    make_progress("plain", "auto", {"COMPOSE_STATUS_STDOUT": "1"}).state("Container", "c", "Started")
    make_progress("plain", "auto", {}).state("Container", "c", "Stopped")
    assert tuple(capsys.readouterr()) == (" Container c Started\n", " Container c Stopped\n")


def test_docker_host_with_the_socket_of_our_own_engine_is_our_own_engine(tmp_path):
    environ = {"SKIFF_RUN": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/engine.sock"}
    assert endpoint(environ, None).is_ours
    assert not endpoint({**environ, "DOCKER_HOST": f"unix://{tmp_path}/other.sock"}, None).is_ours
