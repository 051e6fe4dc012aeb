"""Every flag of `skiff config`: what it writes, and in which order."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.support.folder import Folder

STACK = """\
name: demo
services:
  web:
    image: nginx:${TAG:-1}
    command: ["run", "$$HOME"]
    depends_on: [db]
    networks: [front, back]
    ports: ["8080:80"]
    environment: {PORT: "8080", DEBUG: "on"}
    env_file: web.env
  db:
    build: ./db
    networks: [back]
    volumes: ["data:/var/lib/db", "./init:/init:ro"]
  aaa:
    image: tools
    profiles: [tools, extra]
    networks: [aside]
networks: {front: {}, back: {}, aside: {}, unused: {}}
volumes: {data: {}, spare: {}}
"""


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path).file("compose.yaml", STACK).file("web.env", "FROM_FILE=1\n")


def test_yaml_and_json_are_the_same_model(folder):
    shown = folder.output("config")
    services = folder.config()["services"]
    for service in services.values():
        for key in ("command", "entrypoint"):
            if service[key] is None:
                del service[key]  # JSON alone has what is null
    assert yaml.safe_load(shown)["services"] == services
    assert 'published: "8080"' in shown
    assert "    ports:\n      - mode: ingress\n" in shown
    assert "$$HOME" in shown


def test_attributes_come_in_the_references_order_names_in_their_own(folder):
    text = (
        "services: {w: {x-note: n, working_dir: /w, image: a, environment: {B: 1, A: 2}, build: {x-b: 1, target: t},"
        "ports: ['80:80'], command: c, blkio_config: {device_read_bps: [{path: /dev/sda, rate: 1k}]},"
        "ulimits: {core: 0, nofile: {soft: 0, hard: 9}, nproc: 5},"
        "deploy: {x-d: {k: v}, replicas: 2}}}"
    )
    folder.file("o.yaml", text)
    assert folder.output("-f", "o.yaml", "config") == (
        f"""\
name: {folder.path.name.lower()}
services:
  w:
    build:
      context: {folder.path}
      dockerfile: Dockerfile
      target: t
      x-b: 1
    blkio_config:
      device_read_bps:
        - path: /dev/sda
          rate: "1024"
    command:
      - c
    deploy:
      replicas: 2
      x-d:
        k: v
    environment:
      A: "2"
      B: "1"
    image: a
    networks:
      default: null
    ports:
      - mode: ingress
        target: 80
        published: "80"
        protocol: tcp
    ulimits:
      core:
        soft: 0
        hard: 0
      nofile:
        soft: 0
        hard: 9
      nproc: 5
    working_dir: /w
    x-note: "n"
networks:
  default:
    name: {folder.path.name.lower()}_default
"""
    )
    service = folder.config("-f", "o.yaml")["services"]["w"]
    assert list(service)[:5] == ["build", "blkio_config", "command", "deploy", "entrypoint"]
    assert service["deploy"] == {"replicas": 2, "resources": {}, "placement": {}}
    assert service["blkio_config"] == {"device_read_bps": [{"Path": "/dev/sda", "Rate": "1024"}]}
    assert service["ulimits"] == {"core": {}, "nofile": {"hard": 9}, "nproc": 5}


def test_an_ssh_key_with_a_path_is_yaml_alone(folder):
    folder.file("s.yaml", "services: {w: {build: {context: ., ssh: [default, key=./id]}}}")
    assert f"        - 'key: {folder.path}/id'\n" in folder.output("-f", "s.yaml", "config")
    done = folder.run("-f", "s.yaml", "config", "--format", "json")
    assert done.returncode == 1
    assert "--format yaml" in done.stderr


def test_a_variable_of_an_included_file_is_explained_too(folder):
    folder.file("e.yaml", "include: [in/compose.yaml]\nservices: {w: {image: 'a:${TAG}'}}")
    folder.file("in/compose.yaml", "services: {i: {image: 'b:${TAG}-${OWN:-1}'}}")
    folder.file(".env", "TAG=1\n").file("in/.env", "TAG=2\nOWN=3\n")
    assert folder.output("-f", "e.yaml", "config", "--explain", "TAG") == (
        'TAG is "1"\n'
        "  the environment: does not set it\n"
        '  .env:1: "1" (this one counts)\n'
        "  for in/compose.yaml, which is included:\n"
        '    in/.env:1: "2" (not used: .env:1 comes first)\n'
        "used at e.yaml:2:23\n"
        "used at in/compose.yaml:1:23\n"
    )
    assert folder.output("-f", "e.yaml", "config", "--explain", "OWN") == (
        "OWN is not set\n"
        "  the environment: does not set it\n"
        "  .env: does not set it\n"
        "  for in/compose.yaml, which is included:\n"
        '    in/.env:2: "3" (this one counts)\n'
        'used at in/compose.yaml:1:23: default "1"\n'
    )
    assert folder.config("-f", "e.yaml")["services"]["i"]["image"] == "b:1-3"


def test_models_are_what_services_use(folder):
    folder.file(
        "m.yaml", "services: {w: {image: a, models: [llm]}}\nmodels: {llm: {model: ai/small}, other: {model: b}}"
    )
    assert folder.output("-f", "m.yaml", "config", "--models") == "ai/small\n"


def test_an_unknown_format_is_refused(folder):
    done = folder.run("config", "--format", "toml")
    assert done.returncode == 1
    assert 'unsupported format "toml"' in done.stderr


def test_what_config_writes_loads_to_the_same_model(folder):
    folder.file("again.yaml", folder.output("config"))
    assert folder.config("-f", "again.yaml") == folder.config()


def test_services_come_after_what_they_depend_on(folder):
    assert folder.output("config", "--services") == "db\nweb\n"
    assert folder.output("--profile", "*", "config", "--services") == "aaa\ndb\nweb\n"


def test_volumes_and_networks_are_those_that_services_use(folder):
    assert folder.output("config", "--volumes") == "data\n"
    assert folder.output("config", "--networks") == "back\nfront\n"
    assert folder.output("--profile", "tools", "config", "--networks") == "aside\nback\nfront\n"
    assert folder.output("--all-resources", "config", "--volumes") == "data\nspare\n"
    assert set(folder.config()["networks"]) == {"back", "front"}
    assert set(folder.config("--all-resources")["networks"]) == {"back", "front", "aside", "unused"}


def test_images_have_names_also_where_they_are_built(folder):
    assert folder.output("config", "--images") == "demo-db\nnginx:1\n"
    assert folder.output("config", "--images", "db") == "demo-db\n"


def test_profiles_are_those_of_all_services(folder):
    assert folder.output("config", "--profiles") == "extra\ntools\n"


def test_a_named_service_brings_what_it_depends_on_alone(folder):
    assert list(json.loads(folder.output("config", "--format", "json", "web"))["services"]) == ["db", "web"]
    only = json.loads(folder.output("config", "--format", "json", "db"))
    assert list(only["services"]) == ["db"]
    assert list(only["networks"]) == ["back"]


def test_naming_a_service_enables_its_profiles(folder):
    assert list(json.loads(folder.output("config", "--format", "json", "aaa"))["services"]) == ["aaa"]


def test_a_service_that_is_not_there_is_reported(folder):
    done = folder.run("config", "wb")
    assert done.returncode == 1
    assert "no such service: wb" in done.stderr


def test_the_hash_of_one_of_several_and_of_all(folder):
    every = dict(line.split() for line in folder.output("config", "--hash", "*").splitlines())
    assert list(every) == ["db", "web"]
    assert all(len(digest) == 64 for digest in every.values())
    assert folder.output("config", "--hash", "web") == f"web {every['web']}\n"
    assert folder.output("config", "--hash", "web,db").split() == ["db", every["db"], "web", every["web"]]
    changed = folder.output("config", "--hash", "web", TAG="2")
    assert changed != f"web {every['web']}\n"
    assert folder.run("config", "--hash", "nope").returncode == 1


def test_variables_are_shown_without_being_needed(folder):
    folder.file(
        "v.yaml", 'services: {w: {image: "a:${TAG:-1}", command: ["${A}", "${B:?must}", "${C:+alt}", "${D-${E}}"]}}'
    )
    lines = folder.output("-f", "v.yaml", "config", "--variables").splitlines()
    assert lines[0] == "NAME                REQUIRED            DEFAULT VALUE       ALTERNATE VALUE"
    assert lines[1] == "A                   false"
    assert lines[2] == "B                   true"
    assert lines[3] == "C                   false                                   alt"
    assert lines[6] == "TAG                 false               1"
    found = json.loads(folder.output("-f", "v.yaml", "config", "--variables", "--format", "json"))
    assert found["TAG"] == {"Name": "TAG", "DefaultValue": "1", "PresenceValue": "", "Required": False}
    assert list(found) == ["A", "B", "C", "D", "E", "TAG"]
    same = yaml.safe_load(folder.output("-f", "v.yaml", "config", "--variables", "--format", "yaml"))
    assert same["B"] == {"name": "B", "defaultvalue": "", "presencevalue": "", "required": True}


def test_the_environment_is_sorted_and_knows_the_project(folder):
    folder.file(".env", "ZED=1\nTAG=7\n")
    lines = folder.output("config", "--environment", TAG="8").splitlines()
    assert lines == sorted(lines)
    assert {"ZED=1", "TAG=8", "COMPOSE_PROJECT_NAME=demo"} <= set(lines)


def test_without_interpolation_variables_and_disabled_services_stay(folder):
    found = yaml.safe_load(folder.output("config", "--no-interpolate"))
    assert found["services"]["web"]["image"] == "nginx:${TAG:-1}"
    assert found["services"]["web"]["command"] == ["run", "$$HOME"]
    assert "aaa" in found["services"]
    assert found["services"]["web"]["networks"] == {"front": None, "back": None}


@pytest.mark.parametrize("flag", ["--no-interpolate", "--variables"])
def test_a_service_next_to_a_flag_for_the_whole_model_is_warned_to_select_nothing(folder, flag):
    whole = folder.run("config", flag)
    assert (whole.returncode, whole.stderr) == (0, "")
    named = folder.run("config", flag, "db")
    assert named.stdout == whole.stdout
    assert f"WARN {flag} shows the whole model: no service is selected" in named.stderr


def test_without_normalization_nothing_is_implied(folder):
    written = folder.output("config", "--no-normalize")
    assert folder.output("--compatibility", "config") == written
    found = yaml.safe_load(written)
    assert "dockerfile" not in found["services"]["db"]["build"]
    assert "name" not in (found["networks"]["back"] or {})


def test_without_path_resolution_paths_stay_as_written(folder):
    found = json.loads(folder.output("config", "--no-path-resolution", "--format", "json"))
    assert found["services"]["db"]["build"]["context"] == "./db"
    assert found["services"]["db"]["volumes"][1]["source"] == "./init"
    assert folder.config()["services"]["db"]["build"]["context"] == str(folder.path / "db")


def test_without_environment_resolution_env_files_are_not_read(folder):
    assert folder.config()["services"]["web"]["environment"]["FROM_FILE"] == "1"
    assert "env_file" not in folder.config()["services"]["web"]
    left = json.loads(folder.output("config", "--no-env-resolution", "--format", "json"))["services"]["web"]
    assert "FROM_FILE" not in left["environment"]
    assert left["env_file"][0]["path"] == str(folder.path / "web.env")


def test_without_consistency_what_does_not_fit_is_shown(folder):
    folder.file("odd.yaml", "services: {w: {image: a, networks: [nowhere]}}")
    assert "nowhere" in folder.refusal("-f", "odd.yaml")
    assert "nowhere" in folder.output("-f", "odd.yaml", "config", "--no-consistency")


def test_quiet_checks_alone(folder):
    assert folder.output("config", "-q") == ""
    folder.file("bad.yaml", "services: {w: {imag: a}}")
    done = folder.run("-f", "bad.yaml", "config", "-q")
    assert (done.returncode, done.stdout) == (1, "")
    assert "did you mean" in done.stderr


def test_output_goes_to_a_file(folder):
    assert folder.output("config", "-o", "out.yaml") == ""
    assert (folder.path / "out.yaml").read_text() == folder.output("config")
    done = folder.run("config", "-o", "no/such/folder.yaml")
    assert done.returncode == 1
    assert "can't write" in done.stderr


def test_the_schema_can_be_printed_for_an_editor(folder):
    schema = json.loads(folder.output("config", "--schema"))
    assert schema["title"] == "Compose file"
    folder.output("config", "--schema", "-o", ".compose.schema.json")
    assert json.loads((folder.path / ".compose.schema.json").read_text()) == schema


def test_a_file_that_names_its_schema_for_the_editor_loads(folder):
    folder.file("s.yaml", "# yaml-language-server: $schema=.compose.schema.json\nservices: {w: {image: a}}\n")
    assert list(folder.config("-f", "s.yaml")["services"]) == ["w"]


# --- digests

DIGEST = "sha256:" + "a" * 64

ENGINE = f"""
import http.server, json, socketserver, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path = self.path.partition("/v1.")[2].partition("/")[2]
        if path == "distribution/docker.io/library/nginx:1/json":
            self.answer(200, {{"Descriptor": {{"digest": "{DIGEST}"}}}})
        elif path == "images/docker.io/library/demo-local:2/json":
            self.answer(200, {{"RepoDigests": ["demo-local@{DIGEST}"]}})
        else:
            self.answer(404, {{"message": "no such thing"}})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

server = Server(sys.argv[1], Handler)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.fixture
def engine(tmp_path):
    """The address of a stock engine's API, as far as images and registries go."""
    path = tmp_path / "e.sock"
    process = subprocess.Popen([sys.executable, "-c", ENGINE, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield f"unix://{path}"
    process.kill()
    process.wait()
    process.stdout.close()


def test_images_are_pinned_to_what_the_registry_says(folder, engine):
    folder.file("d.yaml", "services: {w: {image: 'nginx:1'}, b: {build: .}, l: {image: 'demo-local:2'}}")
    found = folder.output("-H", engine, "-f", "d.yaml", "config", "--resolve-image-digests", "--format", "json")
    services = json.loads(found)["services"]
    assert services["w"]["image"] == f"docker.io/library/nginx:1@{DIGEST}"
    assert services["l"]["image"] == f"docker.io/library/demo-local:2@{DIGEST}"
    assert "image" not in services["b"]


def test_a_lock_is_an_override_that_pins_images_alone(folder, engine):
    folder.file("d.yaml", "services: {w: {image: 'nginx:1', ports: ['80']}}")
    lock = folder.output("-H", engine, "-f", "d.yaml", "config", "--lock-image-digests")
    image = f"docker.io/library/nginx:1@{DIGEST}"
    assert yaml.safe_load(lock) == {"services": {"w": {"image": image}}}
    folder.file("lock.yaml", lock)
    service = folder.config("-f", "d.yaml", "-f", "lock.yaml")["services"]["w"]
    assert service["image"] == image
    assert service["ports"][0]["target"] == 80


def test_an_image_that_nobody_knows_is_reported(folder, engine):
    folder.file("d.yaml", "services: {w: {image: 'nobody/knows:3'}}")
    done = folder.run("-H", engine, "-f", "d.yaml", "config", "--resolve-image-digests")
    assert done.returncode == 1
    assert "docker.io/nobody/knows:3" in done.stderr
    assert "no such thing" in done.stderr


def test_pinned_images_need_no_registry(folder):
    folder.file("d.yaml", f"services: {{w: {{image: 'ghcr.io/a/b:1@{DIGEST}'}}}}")
    host = f"unix://{os.path.join(folder.path, 'nobody.sock')}"
    found = folder.output("-H", host, "-f", "d.yaml", "config", "--resolve-image-digests", "--images")
    assert found == f"ghcr.io/a/b:1@{DIGEST}\n"
    shown = folder.output("-H", host, "-f", "d.yaml", "config", "--resolve-image-digests")
    assert f"ghcr.io/a/b@{DIGEST}" in shown
