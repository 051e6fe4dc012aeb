"""What may be in a project together: the rules of the reference, no more and no less."""

import pytest

from tests.support.models import loaded, refusal

OTHER = "other: {image: b}"
TOP = "networks: {n: {}}\nvolumes: {data: {}}\nsecrets: {s: {file: f}}\nconfigs: {c: {file: f}}\nmodels: {m: {model: x}}\n"

ACCEPTED = {
    "a build alone": "web: {build: .}",
    "a context of a service that is built": (
        "web: {build: {context: ., additional_contexts: {b: 'service:two', c: 'docker-image://x'}}}\n  two: {build: .}"
    ),
    "a provider alone": "web: {provider: {type: a}}",
    "image and build": "web: {image: a, build: .}",
    "references that are defined": "web: {image: a, networks: [n], volumes: ['data:/v'], secrets: [s], configs: [c]}",
    "an empty dockerfile_inline next to dockerfile": "web: {build: {dockerfile: a, dockerfile_inline: ''}}",
    "a platform among those of the build": "web: {platform: a/b, build: {context: ., platforms: [a/b, c/d]}}",
    "network_mode without networks": "web: {image: a, network_mode: host}",
    "a provider with network_mode": "web: {provider: {type: a}, network_mode: host}",
    "network_mode of a container": "web: {image: a, network_mode: 'container:x'}",
    "a dependency that is optional and off": (
        "web: {image: a, depends_on: {off: {condition: service_started, required: false}}}\n"
        "  off: {image: b, profiles: [p]}"
    ),
    "a bind mount of a volume's name": "web: {image: a, volumes: [{type: bind, source: nothing, target: /x}]}",
    "an anonymous volume": "web: {image: a, volumes: [/x]}",
    "a cluster volume that is not defined": "web: {image: a, volumes: [{type: cluster, source: x, target: /x}]}",
    "the same target of mounts, the later one counting": "web: {image: a, volumes: ['data:/x', './y:/x']}",
    "the same target of two tmpfs entries with options": "web: {image: a, tmpfs: ['/x:size=1', '/y:size=1']}",
    "equal limits": (
        "web: {image: a, mem_limit: 1m, cpus: 0.5, pids_limit: 5, mem_reservation: 512k, "
        "deploy: {resources: {limits: {memory: 1024k, cpus: '0.5', pids: 5}, reservations: {memory: 512k}}}}"
    ),
    "a limit next to a deploy without limits": "web: {image: a, mem_limit: 1m, deploy: {replicas: 1}}",
    "a limit of none next to other limits": "web: {image: a, mem_limit: 0, deploy: {resources: {limits: {memory: 1m}}}}",
    "scale and replicas that agree": "web: {image: a, scale: 2, deploy: {replicas: 2}}",
    "a container name and a scale of one": "web: {image: a, scale: 1, container_name: xx}",
    "a container name and a scale of none": "web: {image: a, deploy: {replicas: 0}, container_name: xx}",
    "rebuild and restart without a target": (
        "web: {build: ., develop: {watch: [{path: a, action: rebuild}, {path: b, action: restart}]}}"
    ),
    "start_interval without start_period": "web: {image: a, healthcheck: {test: [CMD, x], start_interval: 5s}}",
    "a test of nothing": "web: {image: a, healthcheck: {test: NONE}}",
    "links to containers of others": "web: {image: a, external_links: [nobody]}",
    "volumes of a container of others": "web: {image: a, volumes_from: ['container:x']}",
    "a reservation above the limit": (
        "web: {image: a, deploy: {resources: {limits: {memory: 1m}, reservations: {memory: 2m}}}}"
    ),
    "a restart policy that is not known": "web: {image: a, restart: sometimes}",
    "a network with addresses outside its subnets": "web: {image: a, networks: {n: {ipv4_address: 10.0.0.1}}}",
    "two services on one port": f"web: {{image: a, ports: ['80:80']}}\n  two: {{image: a, ports: ['80:80']}}\n  {OTHER}",
}


@pytest.mark.parametrize("services", ACCEPTED.values(), ids=list(ACCEPTED))
def test_what_the_reference_lets_pass_passes(tmp_path, services):
    assert loaded(tmp_path, f"services:\n  {services}\n{TOP}").services


REFUSED = {
    "neither image nor build": ("web: {command: a}", "neither an image nor a build context"),
    "an empty service": ("web: {}", "neither an image nor a build context"),
    "an empty image": ("web: {image: ''}", "neither an image nor a build context"),
    "no service at all": ("web:", "must be a mapping"),
    "dockerfile and dockerfile_inline": (
        "web: {build: {dockerfile: a, dockerfile_inline: b}}",
        "can't be used together",
    ),
    "a platform that the build leaves out": (
        "web: {platform: a/b, build: {context: ., platforms: [c/d]}}",
        "must include",
    ),
    "network_mode and networks": ("web: {image: a, network_mode: host, networks: [n]}", "can't be used together"),
    "a network": ("web: {image: a, networks: [nn]}", 'network "nn"'),
    "a volume": ("web: {image: a, volumes: ['vv:/v']}", 'volume "vv"'),
    "a secret": ("web: {image: a, secrets: [ss]}", 'secret "ss"'),
    "a secret of a build": ("web: {build: {context: ., secrets: [ss]}}", 'secret "ss"'),
    "a context of a service": (
        "web: {build: {context: ., additional_contexts: [b=service:nobody]}}",
        'service "nobody", which no file defines',
    ),
    "a context of a service that is off": (
        "web: {build: {context: ., additional_contexts: [b=service:off]}}\n  off: {build: ., profiles: [p]}",
        'refers to the service "off", which is off: enable its profile (p)',
    ),
    "a context of a service that is not built": (
        "web: {build: {context: ., additional_contexts: [b=service:two]}}\n  two: {image: a}",
        "is not built",
    ),
    "a config": ("web: {image: a, configs: [cc]}", 'config "cc"'),
    "a model": ("web: {image: a, models: [mm]}", 'model "mm"'),
    "a dependency": ("web: {image: a, depends_on: [nobody]}", '"nobody", which no file defines'),
    "an optional dependency": (
        "web: {image: a, depends_on: {nobody: {condition: service_started, required: false}}}",
        '"nobody", which no file defines',
    ),
    "a dependency that is off": (
        "web: {image: a, depends_on: [off]}\n  off: {image: b, profiles: [p]}",
        "enable its profile (p)",
    ),
    "a link": ("web: {image: a, links: [nobody]}", '"nobody"'),
    "a network namespace": ("web: {image: a, network_mode: service:nobody}", '"nobody"'),
    "a pid namespace": ("web: {image: a, pid: service:nobody}", '"nobody"'),
    "volumes of a service": ("web: {image: a, volumes_from: [nobody]}", '"nobody"'),
    "itself": ("web: {image: a, depends_on: [web]}", "web -> web"),
    "a cycle of two": ("web: {image: a, links: [two]}\n  two: {image: b, depends_on: [web]}", "cycle"),
    "a cycle of three": (
        "web: {image: a, depends_on: [two]}\n  two: {image: b, depends_on: [three]}\n  three: {image: c, ipc: service:web}",
        "cycle",
    ),
    "a test that is no test": ("web: {image: a, healthcheck: {test: [curl]}}", "begins with CMD"),
    "a mount on a tmpfs": ("web: {image: a, tmpfs: /x, volumes: ['data:/x']}", "mounted already"),
    "a secret on a config": (
        "web: {image: a, configs: [{source: c, target: /x}], secrets: [{source: s, target: /x}]}",
        "mounted already",
    ),
    "a config on a volume": ("web: {image: a, configs: [c], volumes: ['data:/c']}", "mounted already"),
    "other limits of memory": (
        "web: {image: a, mem_limit: 1m, deploy: {resources: {limits: {memory: 2m}}}}",
        "can't differ",
    ),
    "a limit that deploy leaves out": (
        "web: {image: a, mem_limit: 1m, deploy: {resources: {limits: {cpus: '1'}}}}",
        "can't differ",
    ),
    "other limits of cpus": ("web: {image: a, cpus: 1, deploy: {resources: {limits: {cpus: '2'}}}}", "can't differ"),
    "other limits of pids": (
        "web: {image: a, pids_limit: 1, deploy: {resources: {limits: {pids: 2}}}}",
        "can't differ",
    ),
    "other reservations": (
        "web: {image: a, mem_reservation: 1m, deploy: {resources: {reservations: {memory: 2m}}}}",
        "can't differ",
    ),
    "scale and other replicas": ("web: {image: a, scale: 2, deploy: {replicas: 3}}", "can't differ"),
    "a container name and a scale": ("web: {image: a, scale: 2, container_name: xx}", "names are unique"),
    "a container name and replicas": ("web: {image: a, deploy: {replicas: 2}, container_name: xx}", "names are unique"),
    "one container name twice": (
        "web: {image: a, container_name: xx}\n  two: {image: a, container_name: xx}",
        'in use by service "web"',
    ),
    "a sync without a target": ("web: {build: ., develop: {watch: [{path: a, action: sync}]}}", "target is needed"),
    "a sync+restart without a target": (
        "web: {build: ., develop: {watch: [{path: a, action: sync+restart}]}}",
        "target is needed",
    ),
}


@pytest.mark.parametrize(("services", "told"), REFUSED.values(), ids=list(REFUSED))
def test_what_does_not_fit_is_refused_and_named(tmp_path, services, told):
    assert told in refusal(tmp_path, f"services:\n  {services}\n{TOP}")


FORM = ("no service at all", "a test that is no test")
"""What no option lets pass, or what without its rule is something else."""


@pytest.mark.parametrize("services", [row[0] for name, row in REFUSED.items() if name not in FORM])
def test_without_consistency_it_passes(tmp_path, services):
    assert loaded(tmp_path, f"services:\n  {services}\n{TOP}", check_consistency=False).services


def test_rules_are_not_for_services_that_are_off(tmp_path):
    text = "services:\n  web: {image: a}\n  off: {networks: [nowhere], depends_on: [nobody], profiles: [p]}\n"
    assert list(loaded(tmp_path, text).services) == ["web"]
    assert "nowhere" in refusal(tmp_path, text, profiles=("p",))


def test_values_of_services_that_are_off_count(tmp_path):
    text = "services:\n  web: {image: a}\n  off: {image: b, mem_limit: lots, profiles: [p]}\n"
    assert "not a size" in refusal(tmp_path, text)
