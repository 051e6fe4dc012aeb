import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compose.errors import ConfigError
from compose.loading import LoadOptions, load


def project(tmp_path, text, environ=None, **options):
    (tmp_path / "compose.yaml").write_text(text)
    return load(LoadOptions(str(tmp_path), **options), environ or {})


def refusal(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, text)
    return str(caught.value)


def test_short_forms_become_long_ones(tmp_path):
    service = (
        project(
            tmp_path,
            """
name: demo
services:
  web:
    image: nginx
    ports: ["127.0.0.1:8080:80/udp"]
    environment: [A=1, B]
    volumes: ["./here:/there:ro", "data:/data"]
    depends_on: [db]
  db: {image: postgres}
volumes: {data: {}}
""",
            {"B": "2"},
        )
        .services["web"]
        .config
    )
    assert service["ports"] == [
        {"mode": "ingress", "host_ip": "127.0.0.1", "target": 80, "published": "8080", "protocol": "udp"}
    ]
    assert service["environment"] == {"A": "1", "B": "2"}
    assert service["volumes"][0]["source"] == str(tmp_path / "here")
    assert service["depends_on"] == {"db": {"condition": "service_started", "required": True}}


def test_an_unknown_key_is_reported_with_its_place_and_the_nearest(tmp_path):
    told = refusal(tmp_path, "services:\n  web:\n    image: a\n    comand: b\n")
    assert "compose.yaml:4:5" in told
    assert "command" in told


def test_an_unknown_dependency_is_reported_with_the_nearest(tmp_path):
    told = refusal(tmp_path, "services:\n  web: {image: a, depends_on: [databse]}\n  database: {image: b}\n")
    assert 'did you mean "database"' in told


def test_a_cycle_is_reported(tmp_path):
    told = refusal(tmp_path, "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n")
    assert "cycle" in told or "circular" in told


def test_a_later_file_overrides_an_earlier_one(tmp_path):
    (tmp_path / "one.yaml").write_text("services: {web: {image: a, environment: {X: '1', Y: '2'}, command: [one]}}\n")
    (tmp_path / "two.yaml").write_text("services: {web: {environment: [X=9], command: [two]}}\n")
    found = load(LoadOptions(str(tmp_path), ("one.yaml", "two.yaml")), {}).services["web"].config
    assert found["environment"] == {"X": "9", "Y": "2"}
    assert found["command"] == ["two"]


def test_extends_and_include_bring_their_paths(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/base.yaml").write_text("services: {base: {image: b, volumes: ['./data:/data']}}\n")
    found = project(
        tmp_path,
        "include: [sub/base.yaml]\nservices: {web: {extends: {file: sub/base.yaml, service: base}, image: w}}\n",
    )
    assert sorted(found.services) == ["base", "web"]
    for name in ("base", "web"):
        assert found.services[name].config["volumes"][0]["source"] == str(tmp_path / "sub/data")


def test_an_extends_cycle_is_refused(tmp_path):
    told = refusal(tmp_path, "services:\n  a: {extends: b, image: x}\n  b: {extends: a}\n")
    assert "extends itself" in told


def test_an_alias_bomb_is_refused(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    told = refusal(tmp_path, "services: {web: {image: x}}\nx-bomb:\n  " + "\n  ".join(lines) + "\n")
    assert "aliases" in told


def test_binary_is_refused(tmp_path):
    (tmp_path / "compose.yaml").write_bytes(b"\x7fELF\x00\xff\xfe services")
    with pytest.raises(ConfigError):
        load(LoadOptions(str(tmp_path)), {})


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), st.text("ab$ {}:-=é\\\"'", max_size=12), max_size=4
    )
)
@settings(deadline=None)
def test_a_loaded_model_loads_to_itself(tmp_path_factory, environment):
    folder = tmp_path_factory.mktemp("p")
    written = {key: value.replace("$", "$$") for key, value in environment.items()}
    document = {"name": "p", "services": {"web": {"image": "x", "environment": written}}}
    first = project(folder, json.dumps(document)).model()
    again = json.dumps(first).replace("$", "$$")
    assert project(folder, again).model() == first


@given(st.text(max_size=30))
def test_interpolation_raises_nothing_but_config_errors(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("p")
    document = {"name": "p", "services": {"web": {"image": "x", "command": ["run", text]}}}
    try:
        project(folder, json.dumps(document), {"A": "1"})
    except ConfigError:
        return
