"""Where Skiff does not do as docker compose 2.40.3 does, knowingly: what the reference does, what we do, and why."""

from typing import NamedTuple

import pytest
import yaml

from tests.support.folder import Folder


class Difference(NamedTuple):
    """A file, what the reference makes of it, why we don't, and what has to be in our JSON or message."""

    text: str
    reference: str
    reason: str
    ours: dict | str


SERVICE = {"command": None, "entrypoint": None, "image": "a", "networks": {"default": None}}
DIFFERENCES = {
    "variables and labels whose name begins with x-": Difference(
        "services: {w: {image: a, environment: {x-trace: on, B: 1}}}",
        "takes them out as extensions and adds a variable #extensions with the text of a Go map",
        "users mean what they write; nobody can want that text",
        {**SERVICE, "environment": {"B": "1", "x-trace": "on"}},
    ),
    "a process namespace that is empty": Difference(
        "services: {w: {image: a, pid: null}}",
        "its schema allows it, its next step crashes on it",
        "a crash is no verdict; the schema's is that there is no such attribute",
        SERVICE,
    ),
    "a bind mount whose source must exist": Difference(
        "services: {w: {image: a, volumes: [{type: bind, source: /s, target: /t, bind: {create_host_path: false}}]}}",
        "leaves create_host_path: false out, which is true then for who reads the result; 5.0 and later write it",
        "what config writes means what the file means",
        {
            **SERVICE,
            "volumes": [{"type": "bind", "source": "/s", "target": "/t", "bind": {"create_host_path": False}}],
        },
    ),
    "characters that HTML knows": Difference(
        "services: {w: {image: a, labels: {a: '<b> & c'}}}",
        r"writes < > & as \u003c \u003e \u0026 in JSON",
        "any reader of JSON takes both for the same; people read ours more easily",
        {**SERVICE, "labels": {"a": "<b> & c"}},
    ),
    "several problems": Difference(
        "services: {w: {imag: a, ports: 80, networks: [n]}}",
        "reports the first that it finds, which may be another with each run",
        "all problems of a file are reported at once, in its order, each with its line and column",
        'compose.yaml:1:16: services.w.imag: is not known here\n    did you mean "image"?',
    ),
    "aliases that multiply": Difference(
        "x-a: &a [0,0,0,0,0,0,0,0,0]\n"
        + "".join(f"x-{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8))
        + "services: {w: {image: a}}",
        "expands them until the machine is out of memory",
        "a file must not take the machine down",
        "aliases",
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_is_as_it_is_reported(tmp_path, name):
    difference = DIFFERENCES[name]
    folder = Folder(tmp_path).file("compose.yaml", difference.text)
    if isinstance(difference.ours, str):
        assert difference.ours in folder.refusal()
    else:
        assert folder.config()["services"]["w"] == difference.ours


def test_lists_have_an_order(tmp_path):
    """The reference writes images, volumes, networks and models in the order of a Go map, another with each run."""
    names = [f"n{number}" for number in range(9)]
    services = {name: {"image": f"i-{name}", "networks": [name], "volumes": [f"{name}:/x"]} for name in reversed(names)}
    text = yaml.safe_dump({"services": services, "networks": dict.fromkeys(names), "volumes": dict.fromkeys(names)})
    folder = Folder(tmp_path).file("compose.yaml", text)
    assert folder.output("config", "--networks").split() == names
    assert folder.output("config", "--volumes").split() == names
    assert folder.output("config", "--images").split() == [f"i-{name}" for name in names]
