import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadRequestError
from runtime.image.registry import addresses
from runtime.image.registry_settings import RegistrySettings


def test_a_daemons_configuration_names_mirrors_and_insecure_registries():
    text = '{"registry-mirrors": ["https://m:5"], "insecure-registries": ["r:5000"], "log-driver": "x"}'
    assert RegistrySettings.parse(text, "f") == RegistrySettings(("https://m:5",), ("r:5000",))
    assert RegistrySettings.parse("", "f") == RegistrySettings.parse("{}", "f") == RegistrySettings()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "f is no JSON"),
        ("[]", "f: registry-mirrors is not a list of texts"),
        ('{"insecure-registries": [1]}', "f: insecure-registries is not a list of texts"),
        ('{"registry-mirrors": ["mirror:5000"]}', "f: invalid mirror 'mirror:5000'"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_file(text, problem):
    with pytest.raises(BadRequestError, match=problem):
        RegistrySettings.parse(text, "f")


def test_a_file_that_is_named_must_be_there(tmp_path):
    with pytest.raises(BadRequestError, match=r"which \$SKIFF_REGISTRIES names, does not exist"):
        RegistrySettings.read({"SKIFF_REGISTRIES": str(tmp_path / "gone")})


@pytest.mark.parametrize(
    ("host", "is_insecure"),
    [
        ("registry:5000", True), ("registry", False), ("other", True), ("other:80", True), ("10.1.2.3:5000", True),
        ("10.2.0.1", False), ("[fd00::1]:5000", True), ("localhost", True), ("127.0.0.9:5000", True), ("ghcr.io", False),
    ],
)  # fmt: skip
def test_hosts_ports_and_networks_are_insecure(host, is_insecure):
    settings = RegistrySettings((), ("registry:5000", "other", "10.1.0.0/16", "fd00::/8"))
    assert settings.is_insecure(host) == is_insecure


def test_tls_is_left_out_only_where_that_was_said():
    settings = RegistrySettings((), ("registry:5000",))
    assert addresses("docker.io", settings) == ["https://registry-1.docker.io/v2/"]
    assert addresses("registry:5000", settings) == ["https://registry:5000/v2/", "http://registry:5000/v2/"]
    assert addresses("registry:5001", settings) == ["https://registry:5001/v2/"]
    assert addresses("127.0.0.1:5000", settings) == ["http://127.0.0.1:5000/v2/"]
    assert addresses("[::1]:5000", settings) == ["http://[::1]:5000/v2/"]


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        RegistrySettings.parse(text, "f")
    except BadRequestError:
        return
