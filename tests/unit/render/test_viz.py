from compose.plan.project import DesiredProject
from compose.render.viz import graph

SERVICES = {
    "web": {
        "image": "nginx:1",
        "networks": {"a": None, "b": None},
        "ports": [
            {"target": 80, "published": "8080", "protocol": "tcp", "mode": "ingress"},
            {"target": 443, "protocol": "tcp", "mode": "ingress"},
        ],
        "depends_on": {"db": {"condition": "service_started"}},
    },
    "db": {"build": {"context": "."}},
}
PROJECT = DesiredProject("vz", {"services": SERVICES})


def test_a_graph_is_that_of_docker_compose():
    """`docker compose alpha viz` (2.40.3) prints this, but for the order of services, which changes there."""
    assert graph(PROJECT) == (
        'digraph "vz" {\n\tlayout=dot;\n'
        '\t"db" [style="filled" label=<<font point-size="15">db</font>>];\n'
        '\t"web" [style="filled" label=<<font point-size="15">web</font>>];\n'
        '\n\t"web" -> "db";\n}\n'
    )


def test_what_is_asked_for_stands_below_the_names():
    lines = graph(PROJECT, networks=True, ports=True, images=True, indentation="  ").splitlines()
    assert lines[3] == (
        '  "web" [style="filled" label=<<font point-size="15">web</font>'
        '<font point-size="10"><br/><br/><b>Networks:</b><br/>a<br/>b</font>'
        '<font point-size="10"><br/><br/><b>Ports:</b><br/>8080:80 (tcp, ingress)<br/>:443 (tcp, ingress)</font>'
        '<font point-size="10"><br/><br/><b>Image:</b><br/>nginx:1</font>>];'
    )
    assert "<b>Image:</b><br/>vz-db</font>" in lines[2]
