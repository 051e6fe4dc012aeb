"""An engine asked through its API: containers of one command each."""

from runtime.client import Client, EngineAddress


class Engine:
    """The engine of a home, and a way to run one command in a container of its own."""

    def __init__(self, home):
        self.home = home
        self.client = Client(EngineAddress(path=str(home.run / "engine.sock")))

    def run(self, command, *mounts, image="busybox", **host):
        """Run a shell command to its end; return what it printed, with its exit code when that is not 0."""
        body = {"Image": image, "Cmd": ["sh", "-c", command], "HostConfig": {"Mounts": list(mounts), **host}}
        id = self.client.create_container(body)["Id"]
        try:
            self.client.start(id)
            code = self.client.wait(id)
            with self.client.logs(id, stdout=1, stderr=1) as stream:
                said = b"".join(data for _, data in stream.frames()).decode()
        finally:
            self.client.remove(id, force=True, volumes=True)
        return said if not code else f"{said}exit {code}"

    def data(self, name):
        """Return the directory of a volume's data."""
        return self.home.root / "volumes" / name / "_data"
