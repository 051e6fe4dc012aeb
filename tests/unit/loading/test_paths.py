"""Which values of a model are paths of the host, and what they become: relative, "~", remote, of Windows, through links."""

import pytest

from compose.loading.paths import expanded, resolve_paths

FOLDER, HOME = "/p/q", "/home/me"


def resolved(model, folder=FOLDER, home=HOME):
    resolve_paths(model, folder, home)
    return model


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".", "/p/q"),
        ("./a", "/p/q/a"),
        ("a/../b//c/", "/p/q/b/c"),
        ("../../..", "/"),
        ("~", "/home/me"),
        ("~/a/../b", "/home/me/b"),
        ("~you/a", "/home/me/you/a"),
        ("/a/../b", "/a/../b"),
        ("//a", "//a"),
    ],
)
def test_a_path_is_made_absolute(path, found):
    service = {
        "build": {"context": path, "additional_contexts": {"x": path}, "ssh": {"default": None, "k": path}},
        "env_file": [{"path": path}],
        "label_file": [path],
        "extends": {"service": "s", "file": path},
        "volumes": [{"type": "bind", "source": path, "target": "/t"}],
        "develop": {"watch": [{"path": path}]},
    }
    model = {
        "services": {"web": service},
        "configs": {"c": {"file": path}},
        "secrets": {"s": {"file": path}},
        "volumes": {"v": {"driver": "local", "driver_opts": {"o": "bind", "device": path}}},
    }
    resolved(model)
    assert service["build"] == {
        "context": found,
        "additional_contexts": {"x": found},
        "ssh": {"default": None, "k": found},
    }
    assert service["env_file"] == [{"path": found}]
    assert service["label_file"] == [found]
    assert service["extends"]["file"] == found
    assert service["volumes"][0] == {"type": "bind", "source": found, "target": "/t"}
    assert service["develop"]["watch"][0]["path"] == found
    assert model["configs"]["c"]["file"] == model["secrets"]["s"]["file"] == found
    assert model["volumes"]["v"]["driver_opts"]["device"] == found


@pytest.mark.parametrize(
    "context",
    [
        "https://example.com/a.git",
        "http://example.com/a.tar.gz",
        "git://example.com/a",
        "ssh://git@example.com/a",
        "git@example.com:a/b.git#main:sub",
        "github.com/a/b",
        "docker-image://alpine",
        "oci-layout://./a",
        "target://stage",
        "service:base",
    ],
)
def test_a_remote_context_stays_as_it_is(context):
    build = {"context": context, "additional_contexts": {"x": context}}
    resolved({"services": {"web": {"build": build}}})
    assert build == {"context": context, "additional_contexts": {"x": context}}


@pytest.mark.parametrize("path", ["C:\\a", "c:/a", "\\\\host\\share"])
def test_a_path_of_windows_stays_as_it_is(path):
    volume, config = {"type": "bind", "source": path}, {"file": path}
    resolved({"services": {"web": {"volumes": [volume]}}, "configs": {"c": config}})
    assert (volume["source"], config["file"]) == (path, path)


@pytest.mark.parametrize(
    "model",
    [
        {"services": {"web": {"volumes": [{"type": "volume", "source": "./a"}, {"type": "tmpfs"}]}}},
        {"services": {"web": {"build": {"dockerfile": "../D", "context": "", "cache_from": ["./c"]}}}},
        {"services": {"web": {"working_dir": "./w", "image": "./i", "env_file": [{"path": ""}]}}},
        {"services": {"web": {"extends": {"file": "oci://example.com/x"}}}},
        {"services": {"web": {"credential_spec": {"file": "./c"}}}},
        {"volumes": {"v": {"driver": "local", "driver_opts": {"o": "bind,ro", "device": "./a"}}}},
        {"volumes": {"v": {"driver_opts": {"o": "bind", "device": "./a"}}, "w": None}},
        {"services": {"web": None, "odd": {"build": 5, "volumes": 5, "develop": {"watch": 3}, "env_file": "x"}}},
        {"x-own": {"build": {"context": "./a"}}},
    ],
)
def test_what_is_no_path_of_the_host_stays_as_it_is(model):
    before = repr(model)
    assert repr(resolved(model)) == before


def test_without_a_home_a_tilde_is_a_name():
    assert expanded("~/a", "") == "~/a"
    volume = {"type": "bind", "source": "~/a"}
    resolved({"services": {"web": {"volumes": [volume]}}}, home="")
    assert volume["source"] == "/p/q/~/a"


def test_an_empty_source_of_the_host_is_the_folder():
    secret = {"file": ""}
    resolved({"secrets": {"s": secret}})
    assert secret["file"] == FOLDER


def test_what_is_watched_is_what_the_first_link_on_its_way_leads_to(tmp_path):
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    watch, volume = {"path": "link/deep/x"}, {"type": "bind", "source": "link"}
    resolved({"services": {"web": {"develop": {"watch": [watch]}, "volumes": [volume]}}}, str(tmp_path))
    assert watch["path"] == str(tmp_path / "real/deep/x")
    assert volume["source"] == str(tmp_path / "link")


def test_relative_to_a_relative_folder_paths_stay_relative():
    service = {
        "build": {"context": "./a"},
        "volumes": [{"type": "bind", "source": "../b"}],
        "develop": {"watch": [{"path": "c"}]},
    }
    resolved({"services": {"web": service}}, "sub")
    assert service == {
        "build": {"context": "sub/a"},
        "volumes": [{"type": "bind", "source": "b"}],
        "develop": {"watch": [{"path": "sub/c"}]},
    }
