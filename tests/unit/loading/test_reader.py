"""What files make of each other through overrides, `extends`, `include` and tags, one rule each, as the reference has it."""

import pytest

from compose.errors import ConfigError
from compose.loading import LoadOptions, load


class Folder:
    """Compose files in a folder, and what is loaded from them."""

    def __init__(self, path):
        self.path = path

    def file(self, name, text):
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)
        return self

    def load(self, *files, **environ):
        return load(LoadOptions(str(self.path), files), {"HOME": "/home/me", **environ})

    def service(self, name, *files, **environ):
        return self.load(*files, **environ).services[name].config

    def refusal(self, *files, **environ):
        with pytest.raises(ConfigError) as told:
            self.load(*files, **environ)
        return str(told.value)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "p").mkdir()
    return Folder(tmp_path / "p")


# --- merging files


@pytest.mark.parametrize(
    ("attribute", "base", "over", "merged"),
    [
        # what is replaced
        ("image", "a", "b", "b"),
        ("image", "a", "null", "a"),
        ("command", "[a, b]", "[c]", ["c"]),
        ("command", "[a, b]", "null", None),
        ("command", "[a, b]", "c d", ["c", "d"]),
        ("entrypoint", "[a]", "[]", []),
        ("ulimits", "{nofile: {soft: 1, hard: 2}, nproc: 3}", "{nofile: 5}", {"nofile": 5, "nproc": 3}),
        ("healthcheck", "{test: [CMD, a], retries: 2}", "{test: [CMD, b]}", {"test": ["CMD", "b"], "retries": 2}),
        # mappings key by key, whichever form they have
        ("environment", "{A: 1, B: 2}", "[B=3, C]", {"A": "1", "B": "3", "C": None}),
        ("environment", "[A=1, A=2]", "{A: x}", {"A": "x"}),
        ("labels", "{a: 1}", "[a=2, b]", {"a": "2", "b": ""}),
        ("annotations", "[a=1]", "{b: 2}", {"a": "1", "b": "2"}),
        ("sysctls", "{a: 1}", "[a=2]", {"a": "2"}),
        ("extra_hosts", "{h: 1.1.1.1}", "['h:1.1.1.1', 'h=2.2.2.2']", ["h=1.1.1.1", "h=1.1.1.1", "h=2.2.2.2"]),
        ("networks", "[default]", "{default: {aliases: [x]}}", {"default": {"aliases": ["x"]}}),
        ("networks", "{default: {aliases: [x]}}", "{default: {aliases: [y, x]}}", {"default": {"aliases": ["x", "y"]}}),
        ("build", ".", "{args: {A: 1}}", {"args": {"A": "1"}}),
        ("build", "{args: [A=1, B=2]}", "{args: {B: 3}}", {"args": {"A": "1", "B": "3"}}),
        (
            "logging",
            "{driver: a, options: {x: 1}}",
            "{options: {y: 2}}",
            {"driver": "a", "options": {"x": "1", "y": "2"}},
        ),
        (
            "logging",
            "{driver: a, options: {x: 1}}",
            "{driver: a, options: {y: 2}}",
            {"driver": "a", "options": {"x": "1", "y": "2"}},
        ),
        (
            "logging",
            "{driver: a, options: {x: 1}}",
            "{driver: b, options: {y: 2}}",
            {"driver": "b", "options": {"y": "2"}},
        ),
        ("storage_opt", "{size: 1}", "{size: 2}", {"size": "2"}),
        # lists appended
        ("dns", "1.1.1.1", "[2.2.2.2, 1.1.1.1]", ["1.1.1.1", "2.2.2.2"]),
        ("dns_search", "a", "b", ["a", "b"]),
        ("tmpfs", "/a", "[/a, '/b:size=1']", ["/a", "/b:size=1"]),
        ("cap_add", "[A]", "[B, A]", ["A", "B"]),
        ("security_opt", "[a]", "[b]", ["a", "b"]),
        ("group_add", "[a]", "[b]", ["a", "b"]),
        ("expose", "[80]", "['80', 81]", ["80", "81"]),
        (
            "devices",
            "['/dev/a:/dev/x']",
            "['/dev/b:/dev/x:r']",
            [{"source": "/dev/b", "target": "/dev/x", "permissions": "r"}],
        ),
        ("volumes", "['/a:/x', '/b:/y']", "['/c:/x']", ["/c", "/b"]),
        ("ports", "['80:80']", "['80:80', '81:80']", ["80", "81"]),
        ("ports", "['8000-8001:80-81']", "['8001:81']", ["8000", "8001"]),
        ("ports", "['80:80']", "['127.0.0.1:80:80']", ["80", "80"]),
        ("ports", "['80:80/tcp']", "[{target: 80, published: '80'}]", ["80"]),
        (
            "secrets",
            "[s]",
            "[{source: s, target: /run/secrets/s, mode: 0440}]",
            [{"source": "s", "target": "/run/secrets/s", "mode": "0440"}],
        ),
        # extensions as a whole
        ("x-mine", "{a: 1}", "{b: 2}", None),
    ],
)
def test_an_attribute_is_merged_with_another_by_its_rule(folder, attribute, base, over, merged):
    resources = "secrets: {s: {file: ./s}}\n"
    image = "" if attribute == "image" else "image: i, "
    folder.file("a.yaml", f"{resources}services: {{web: {{{image}{attribute}: {base}}}}}")
    folder.file("b.yaml", f"services: {{web: {{{attribute}: {over}}}}}")
    found = folder.service("web", "a.yaml", "b.yaml").get(attribute)
    if attribute == "ports":
        found = [port["published"] for port in found]
    if attribute == "volumes":
        found = [volume["source"] for volume in found]
    if attribute == "build":
        found = {"args": found["args"]} if "args" in found else found
    assert found == merged


def test_dependencies_of_both_forms_are_merged(folder):
    folder.file(
        "a.yaml", "services: {web: {image: i, depends_on: [a, b]}, a: {image: i}, b: {image: i}, c: {image: i}}"
    )
    folder.file(
        "b.yaml", "services: {web: {depends_on: {b: {condition: service_healthy}, c: {condition: service_started}}}}"
    )
    assert folder.service("web", "a.yaml", "b.yaml")["depends_on"] == {
        "a": {"condition": "service_started", "required": True},
        "b": {"condition": "service_healthy", "required": True},
        "c": {"condition": "service_started", "required": True},
    }
    # a list says that the service is started, whatever was said before
    folder.file("b.yaml", "services: {web: {depends_on: {b: {condition: service_healthy}}}}")
    folder.file("c.yaml", "services: {web: {depends_on: [b]}}")
    found = folder.service("web", "a.yaml", "b.yaml", "c.yaml")["depends_on"]["b"]
    assert found == {"condition": "service_started", "required": True}


def test_pools_of_addresses_are_merged_by_subnet(folder):
    folder.file(
        "a.yaml", "services: {w: {image: i, networks: [n]}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/8}]}}}"
    )
    folder.file("b.yaml", "networks: {n: {ipam: {config: [{subnet: 10.0.0.0/8, gateway: 10.0.0.1}]}}}")
    pools = folder.load("a.yaml", "b.yaml").networks["n"]["ipam"]["config"]
    assert pools == [{"subnet": "10.0.0.0/8", "gateway": "10.0.0.1"}]


@pytest.mark.parametrize(
    ("base", "over"),
    [
        ("healthcheck: {interval: 1s}", "healthcheck: [x]"),
        ("cap_add: [A]", "cap_add: A"),
        ("volumes: ['/a:/a']", "volumes: {a: b}"),
        ("logging: {driver: a}", "logging: a"),
        # the second is merged with the long form of the first
        ("gpus: all", "gpus: all"),
        ("build: {ssh: [default]}", "build: {ssh: [default]}"),
    ],
)
def test_what_is_of_another_kind_can_not_be_merged(folder, base, over):
    folder.file("a.yaml", f"services: {{web: {{image: i, {base}}}}}")
    folder.file("b.yaml", f"services: {{web: {{{over}}}}}")
    assert "can't override services.web." in folder.refusal("a.yaml", "b.yaml")


def test_documents_of_a_file_are_merged_as_files_are(folder):
    folder.file(
        "compose.yaml",
        "services: {web: {image: a, ports: ['80:80']}}\n---\nservices: {web: {image: b, ports: !override []}}",
    )
    found = folder.service("web")
    assert (found["image"], found.get("ports")) == ("b", None)


# --- tags


@pytest.mark.parametrize(
    ("base", "over", "attribute", "left"),
    [
        ("networks: [a, default]", "networks: {a: !reset null}", "networks", {"default": None}),
        ("depends_on: [a]", "depends_on: {a: !reset null}", "depends_on", None),
        ("build: .", "build: !reset null", "build", None),
        ("environment: {A: 1, B: 2}", "environment: {A: !reset null}", "environment", {"B": "2"}),
        ("environment: [A=1, B=2]", "environment: !override [C=3]", "environment", {"C": "3"}),
        ("labels: {a.b: 1, c: 2}", "labels: {a.b: !reset null}", "labels", {"c": "2"}),
        ("dns: [1.1.1.1]", "dns: !override [2.2.2.2]", "dns", ["2.2.2.2"]),
        ("command: [a]", "command: !reset []", "command", None),
        ("user: a", "user: !override b", "user", "b"),
        # in a list it takes out nothing but itself
        ("cap_add: [A, B]", "cap_add: [!reset A, C]", "cap_add", ["A", "B", "C"]),
    ],
)
def test_tags_take_back_what_earlier_files_gave(folder, base, over, attribute, left):
    folder.file("a.yaml", f"services: {{web: {{image: i, {base}}}, a: {{image: i}}}}\nnetworks: {{a: }}")
    folder.file("b.yaml", f"services: {{web: {{{over}}}}}")
    assert folder.service("web", "a.yaml", "b.yaml").get(attribute) == left


def test_a_whole_service_can_be_taken_back(folder):
    folder.file("a.yaml", "services: {web: {image: i}, gone: {image: i}}").file(
        "b.yaml", "services: {gone: !reset null}"
    )
    assert list(folder.load("a.yaml", "b.yaml").services) == ["web"]


def test_what_an_extended_file_tags_counts_also_for_who_extends_it_under_the_same_name(folder):
    folder.file(
        "compose.yaml",
        "services: {web: {extends: {file: base.yaml, service: web}}, other: {extends: {file: base.yaml, service: web}}}",
    )
    folder.file(
        "base.yaml", "services: {root: {image: i, ports: ['1:1']}, web: {extends: root, ports: !override ['2:2']}}"
    )
    assert "ports" not in folder.service("web")
    assert [port["published"] for port in folder.service("other")["ports"]] == ["2"]


# --- extends


@pytest.mark.parametrize(
    "attribute", ["depends_on: [a]", "links: [a]", "volumes_from: [a]", "network_mode: 'service:a'"]
)
def test_extends_brings_references_to_other_services(folder, attribute):
    folder.file(
        "compose.yaml", f"services: {{web: {{extends: base}}, base: {{image: i, {attribute}}}, a: {{image: i}}}}"
    )
    assert "a" in folder.service("web")["depends_on"]


def test_where_there_is_nothing_to_extend_the_attribute_stays(folder):
    folder.file("compose.yaml", "services: {web: {image: i, extends: {file: base.yaml, service: empty}}}")
    folder.file("base.yaml", "services: {empty: }")
    assert folder.service("web")["extends"] == {"file": str(folder.path / "base.yaml"), "service": "empty"}


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ("services: {base: {image: i}, other: {image: i, ports: [nope]}}", "base.yaml:1:56: services.other.ports[0]: "),
        ("services: {base: {image: i}, other: {image: '${X:?needed}'}}", "base.yaml:1:45: services.other.image: "),
        ("services: {base: text}", "must be a mapping"),
        ("services: {}", 'service "base", which it extends, is not in base.yaml'),
        ("x: {}", "base.yaml has no services"),
        ("", "base.yaml has no services"),
        ("services: {base: {image: i}}\n---\n", "base.yaml:3:1: the document is empty"),
    ],
)
def test_what_is_wrong_in_an_extended_file_counts_even_where_nobody_extends_it(folder, base, problem):
    folder.file("compose.yaml", "services: {web: {extends: {file: base.yaml, service: base}}}").file("base.yaml", base)
    assert problem in folder.refusal()


def test_what_the_schema_says_of_an_extended_file_concerns_only_who_is_extended(folder):
    folder.file("compose.yaml", "services: {web: {extends: {file: base.yaml, service: base}}}")
    folder.file("base.yaml", "unknown: 1\nservices: {base: {image: i}, other: {imag: i}}")
    assert folder.service("web")["image"] == "i"


def test_a_tilde_is_no_home_in_what_a_file_itself_extends_or_includes(folder):
    folder.file("compose.yaml", "services: {web: {extends: {file: ~/base.yaml, service: base}}}")
    folder.file("~/base.yaml", "services: {base: {image: i}}")
    assert folder.service("web")["image"] == "i"
    folder.file("compose.yaml", "include: [~/base.yaml]")
    assert folder.service("base")["image"] == "i"


def test_extends_looks_only_at_the_file_itself_not_at_what_it_includes(folder):
    folder.file("compose.yaml", "include: [sub.yaml]\nservices: {web: {extends: base}}")
    folder.file("sub.yaml", "services: {base: {image: i}}")
    assert 'service "base", which it extends, is not in compose.yaml' in folder.refusal()


def test_a_chain_of_services_that_is_too_long_is_reported(folder):
    services = "".join(f"  s{number}: {{extends: s{number + 1}}}\n" for number in range(2000))
    folder.file("compose.yaml", f"services:\n{services}  s2000: {{image: i}}\n")
    assert "more than 100 levels deep" in folder.refusal()


@pytest.mark.parametrize("remote", ["oci://example.com/a", "https://example.com/a.git", "git@example.com:a/b.git"])
def test_files_that_are_elsewhere_are_distinguished_from_missing_ones(folder, remote):
    problem = f"{remote} is not on this machine\n    fetch it, and name the copy"
    folder.file("compose.yaml", f"services: {{web: {{extends: {{file: '{remote}', service: a}}}}}}")
    assert f"compose.yaml:1:34: services.web.extends.file: {problem}" in folder.refusal()
    folder.file("compose.yaml", f"include: ['{remote}']")
    assert f"compose.yaml:1:11: include[0]: {problem}" in folder.refusal()
    assert problem in folder.refusal(remote)


# --- include


def test_keys_that_include_does_not_know_are_warned_of(folder):
    folder.file("compose.yaml", "include: [{path: sub.yaml, env_fil: x.env}]").file(
        "sub.yaml", "services: {a: {image: i}}"
    )
    found = folder.load()
    assert list(found.services) == ["a"]
    assert found.warnings == ('compose.yaml:1:28: "env_fil" is not known here and has no effect',)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("include: sub.yaml", "compose.yaml:1:10: include: must be a list"),
        ("include: [5]", "compose.yaml:1:11: include[0]: must be a path or a mapping"),
        ("include: [{path: {}}]", "compose.yaml:1:12: include[0].path: must be a string or a list of them"),
        ("include: [{path: a, project_directory: [b]}]", "include[0].project_directory: must be a string"),
        ("include: [{path: [sub.yaml, 3]}]", "include[0].path: must be a string or a list of them"),
    ],
)
def test_an_include_of_another_kind_is_reported(folder, entry, problem):
    folder.file("compose.yaml", f"{entry}\nservices: {{a: {{image: i}}}}").file("sub.yaml", "services: {b: {image: i}}")
    assert problem in folder.refusal()


def test_a_project_directory_that_is_not_there_stands_for_the_folder_above_it(folder):
    folder.file("compose.yaml", "include: [{path: sub/a.yaml, project_directory: sub/none}]")
    folder.file("sub/a.yaml", "services: {a: {image: i, volumes: ['./d:/d']}}")
    assert folder.service("a")["volumes"][0]["source"] == str(folder.path / "sub/d")


@pytest.mark.parametrize(
    ("own", "included", "is_same"),
    [
        ("{image: i, user: u}", "{user: u, image: i}", True),
        ("{image: i, user: u}", "{image: i}", False),
        # the included one is in long forms, with defaults, and relative to the file that includes it
        ("{image: i, dns: [1.1.1.1]}", "{image: i, dns: 1.1.1.1}", True),
        ("{image: i, dns: 1.1.1.1}", "{image: i, dns: 1.1.1.1}", False),
        ("{build: {context: sub/x}}", "{build: x}", True),
        ("{build: {context: x}}", "{build: x}", False),
        ("{image: i, ports: ['80:80']}", "{image: i, ports: ['80:80']}", False),
    ],
)
def test_what_an_include_and_its_file_define_must_be_the_same(folder, own, included, is_same):
    folder.file("compose.yaml", f"include: [sub/a.yaml]\nservices: {{a: {own}}}")
    folder.file("sub/a.yaml", f"services: {{a: {included}}}")
    if is_same:
        assert list(folder.load().services) == ["a"]
    else:
        assert "conflicts" in folder.refusal()


def test_included_services_have_the_variables_of_their_own_files_in_lists(folder):
    folder.file("compose.yaml", "include: [sub/a.yaml]").file(".env", "A=main\nC=main\n").file(
        "sub/.env", "A=sub\nB=sub\n"
    )
    folder.file(
        "sub/a.yaml",
        "services: {a: {image: i, environment: [A, B, C, D]}, b: {image: i, environment: {A: , B: , C: , D: }}}\n",
    )
    assert folder.service("a")["environment"] == {"A": "main", "B": "sub", "C": "main", "D": None}
    assert folder.service("b")["environment"] == {"A": "main", "B": None, "C": "main", "D": None}


def test_neither_deep_nor_doubling_includes_go_on_for_long(folder):
    for number in range(200):
        folder.file(f"{number}.yaml", f"include: [{number + 1}.yaml]")
    folder.file("200.yaml", "services: {a: {image: i}}")
    assert "100 levels" in folder.refusal("0.yaml")
    for number in range(30):
        folder.file(f"{number}.yaml", f"include: [{number + 1}.yaml, {number + 1}.yaml]")
    folder.file("30.yaml", "services: {a: {image: i}}")
    assert "more than 1000 files are included" in folder.refusal("0.yaml")
