"""Containers that report what they see: run through the Docker Engine API, in an engine that is shared."""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from runtime.client import Client, endpoint
from tests.support.images import base_layer


@dataclass(frozen=True)
class Result:
    """How a container ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def fields(self):
        """Lines of "name<blank>value" as a dict."""
        return {name.rstrip(":"): value.strip() for name, _, value in (line.partition("\t") for line in self.lines)}


class Prober:
    """Makes containers in one engine and removes them."""

    def __init__(self, home):
        self.home = home
        self.client = Client(endpoint(home.env, None))

    def create(self, *command, image="busybox", host=None, name=None, **config):
        """Return the ID of a new container."""
        body = {"Image": image, "HostConfig": {"NetworkMode": "none", **(host or {})}, **config}
        if command:
            body["Cmd"] = list(command)
        return self.client.create_container(body, name=name)["Id"]

    def run(self, script, **options):
        """Run a shell script in a container to its end."""
        return self.execute("sh", "-c", script, **options)

    def execute(self, *command, **options):
        """Run a command in a container to its end."""
        id = self.create(*command, **options)
        try:
            self.client.start(id)
            code = self.client.wait(id)
            return Result(code, *self.output(id))
        finally:
            self.client.remove(id, force=True, volumes=True)

    def output(self, id):
        """Return what a container wrote, of both streams."""
        with self.client.logs(id, stdout=True, stderr=True) as stream:
            if not stream.is_multiplexed:
                return b"".join(stream.chunks()).decode(), ""
            frames = list(stream.frames())
        return tuple(b"".join(data for kind, data in frames if kind == wanted).decode() for wanted in (1, 2))

    def exec(self, id, *command, **body):
        """Run a command inside a running container; return its exit code and output."""
        wanted = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(command), **body}
        exec_id = self.client.exec_create(id, wanted)
        with self.client.exec_start(exec_id, tty=bool(body.get("Tty"))) as stream:
            data = b"".join(stream.chunks() if body.get("Tty") else (data for _, data in stream.frames()))
        return self.client.exec_inspect(exec_id)["ExitCode"], data.decode()

    def image(self, name, *layers, **config):
        """Load an image of busybox below `layers`, each a list of tar members (see `entry`)."""
        tars = [base_layer(), *(_tar(members) for members in layers)]
        diff_ids = [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in tars]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], **config},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        files = {f"{number}.tar": one for number, one in enumerate(tars)}
        manifest = [{"Config": "config.json", "RepoTags": [f"{name}:latest"], "Layers": list(files)}]
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for path, data in {
                "config.json": json.dumps(document).encode(), **files, "manifest.json": json.dumps(manifest).encode(),
            }.items():  # fmt: skip
                member = tarfile.TarInfo(path)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        for told in self.client.load([out.getvalue()]):
            assert "error" not in told, told
        return name


def entry(path, content=b"", *, link=None, kind=None, mode=0o755, uid=0):
    """Return a tar member and its content: a file, a symbolic link, or what `kind` says."""
    member = tarfile.TarInfo(path)
    member.mode, member.uid, member.size = mode, uid, len(content)
    if link is not None:
        member.type, member.linkname = tarfile.SYMTYPE, str(link)
    elif kind is not None:
        member.type = kind
    return member, content


def _tar(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def host_folder(base, name):
    """Make a folder of the host that a container is not to touch; return its path."""
    folder = Path(base) / name
    folder.mkdir()
    (folder / "secret").write_text("of the host")
    return folder
