"""What a service's `build:` becomes in the request to the engine."""

import io
import json
import tarfile

import pytest

from compose.execute.build import OWN, build_request
from compose.execute.build_context import stream
from compose.execute.build_flags import BuildFlags
from compose.plan.project import DesiredProject
from runtime.errors import SkiffError


def request(folder, build, *, is_ours=True, model=None, values=None, options=None, **service):
    (folder / "Dockerfile").touch()
    services = {"web": {"build": {"context": str(folder), **build}, **service}, "base": {"image": "base:1"}}
    target = DesiredProject("p", {"services": services, **(model or {})}, values=values or {})
    return build_request(target, "web", options or BuildFlags(), "agent of {}".format, is_ours=is_ours)


def sent(made):
    """Return the names in the stream with their contents."""
    data = b"".join(stream(made.context, made.dockerfile, made.hidden, made.extra, made.directories))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read().decode() if m.isreg() else "" for m in tar}


def test_every_key_of_the_classic_protocol_is_sent(tmp_path):
    query = request(
        tmp_path,
        {
            "args": {"A": "1"}, "labels": {"l": "2"}, "target": "t", "network": "host", "no_cache": True, "pull": True,
            "shm_size": "134217728", "extra_hosts": ["a=1.2.3.4"], "ulimits": {"nofile": {"soft": 1, "hard": 2}, "nproc": 3},
            "platforms": ["linux/arm64"], "tags": ["x:1", "x:2"], "cache_from": ["a:1", "type=registry,ref=b:2"],
            "cache_to": ["type=inline"],
        },
        is_ours=False,
    ).query  # fmt: skip
    assert query == {
        "t": ["p-web", "x:1", "x:2"], "dockerfile": "Dockerfile", "buildargs": '{"A": "1"}', "target": "t",
        "labels": json.dumps({"l": "2", "com.docker.compose.project": "p", "com.docker.compose.service": "web"}),
        "networkmode": "host", "nocache": 1, "pull": 1, "extrahosts": ["a:1.2.3.4"], "shmsize": 134217728,
        "ulimits": '[{"Name": "nofile", "Soft": 1, "Hard": 2}, {"Name": "nproc", "Soft": 3, "Hard": 3}]',
        "platform": "linux/arm64", "cachefrom": '["a:1", "b:2"]',
    }  # fmt: skip


def test_secrets_agents_contexts_and_entitlements_go_to_our_engine(tmp_path):
    (tmp_path / "key").write_text("from file")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/f").write_text("lib")
    made = request(
        tmp_path,
        {
            "secrets": [{"source": "a"}, {"source": "b", "target": "token"}],
            "additional_contexts": {"l": str(tmp_path / "lib"), "s": "service:base", "i": "docker-image://x"},
            "entitlements": ["network.host"],
            "privileged": True,
        },
        model={"secrets": {"a": {"file": str(tmp_path / "key")}, "b": {"environment": "TOKEN"}}},
        values={("secrets", "b"): "from environment"},
    )
    assert json.loads(made.query["secrets"]) == {"a": f"{OWN}/secrets/0", "token": f"{OWN}/secrets/1"}
    assert json.loads(made.query["contexts"]) == {
        "l": f"stream:{OWN}/contexts/0",
        "s": "docker-image://base:1",
        "i": "docker-image://x",
    }
    assert made.query["entitlements"] == ["network.host", "security.insecure"]
    content = sent(made)
    assert (content[f"{OWN}/secrets/0"], content[f"{OWN}/secrets/1"]) == ("from file", "from environment")
    assert content[f"{OWN}/contexts/0/f"] == "lib"
    assert made.query["own"] == OWN
    assert ".dockerignore" not in content


def test_a_key_has_an_agent_of_its_own(tmp_path):
    (tmp_path / "key").write_text("key")
    made = request(tmp_path, {"ssh": {"mine": str(tmp_path / "key")}})
    assert json.loads(made.query["ssh"]) == {"mine": f"agent of {tmp_path}/key"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ({"isolation": "hyperv"}, "build.isolation 'hyperv' is for Windows"),
        ({"sbom": "true"}, "build.sbom: attestations are not made"),
        ({"cache_to": ["type=local,dest=x"]}, "build.cache_to: type=local,dest=x is not supported"),
        ({"cache_from": ["type=gha"]}, "build.cache_from: type=gha is not supported"),
        ({"platforms": ["linux/amd64", "linux/arm64"]}, "several platforms"),
        ({"secrets": [{"source": "gone"}]}, "has neither file nor environment"),
        ({"ssh": {"k": "/dev/null"}}, "/dev/null is neither an agent's socket nor a key"),
        ({"ssh": {"k": "/gone"}}, "/gone is neither an agent's socket nor a key"),
        ({"additional_contexts": {"x": "/gone"}}, "additional context 'x' does not exist"),
        ({"additional_contexts": {"x": "https://a/b.git"}}, "https://a/b.git is not supported"),
        ({"context": "/gone"}, "the build context does not exist"),
        ({"context": "https://a/b.git"}, "remote build contexts"),
        ({"dockerfile": "gone"}, "failed to read dockerfile"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_service(tmp_path, build, message):
    with pytest.raises(SkiffError, match="service 'web': ") as caught:
        request(tmp_path, build)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        {"secrets": [{"source": "a"}]},
        {"ssh": {"default": None}},
        {"privileged": True},
        {"additional_contexts": {"a": "."}},
    ],
)
def test_what_another_engine_has_no_words_for_is_refused(tmp_path, build):
    with pytest.raises(SkiffError, match=f"build.{next(iter(build))} is not supported by this engine"):
        request(tmp_path, build, is_ours=False)


def test_the_stream_leaves_out_what_is_ignored_and_keeps_what_is_needed(tmp_path):
    for name in ("a.log", "keep.log", "src/x.py", "src/x.pyc", "node_modules/deep/f", "sub/Dockerfile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("*.log\n!keep.log\n**/*.pyc\nnode_modules\nsub\n.dockerignore\n")
    made = request(tmp_path, {"dockerfile": "sub/Dockerfile"})
    assert set(sent(made)) == {".dockerignore", "Dockerfile", "keep.log", "src", "src/x.py", "sub/Dockerfile"}


def test_a_dockerfile_outside_and_its_ignore_file_are_no_part_of_the_context(tmp_path):
    (tmp_path / "context").mkdir()
    (tmp_path / "context/f").write_text("f")
    (tmp_path / "context/g").write_text("g")
    (tmp_path / "special").write_text("FROM scratch")
    (tmp_path / "special.dockerignore").write_text("g")
    made = request(tmp_path / "context", {"dockerfile": "../special"}, is_ours=False)
    content = sent(made)
    assert made.dockerfile == f"{OWN}/special"
    assert content[f"{OWN}/special"] == "FROM scratch"
    assert content[f"{OWN}/special.dockerignore"] == f"g\n{OWN}\n"
    assert set(content) == {"Dockerfile", "f", f"{OWN}/special", f"{OWN}/special.dockerignore"}


def test_certificates_and_proxies_of_this_machine_go_along_when_asked_for(tmp_path, monkeypatch):
    (tmp_path / "ca.pem").write_text("PEM")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://p:1")
    plain = request(tmp_path, {})
    assert ("certificates" in plain.query, plain.extra) == (False, {})
    asked = request(tmp_path, {"args": {"A": "1"}}, options=BuildFlags(host_ca=True))
    assert (asked.query["certificates"], asked.query["own"]) == (f"{OWN}/certificates", OWN)
    assert asked.extra[asked.query["certificates"]] == b"PEM"
    arguments = json.loads(asked.query["buildargs"])
    assert (arguments["HTTPS_PROXY"], arguments["A"]) == ("http://p:1", "1")
    with pytest.raises(SkiffError, match="--with-host-ca is not supported by this engine"):
        request(tmp_path, {}, is_ours=False, options=BuildFlags(host_ca=True))
    monkeypatch.setenv("SKIFF_BUILD_HOST_CA", "1")
    assert "certificates" in request(tmp_path, {}).query
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone"))
    with pytest.raises(SkiffError, match=r"this machine has no CA certificates: .*/gone"):
        request(tmp_path, {})
