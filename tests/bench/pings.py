"""The longest `/_ping` while the engine does what takes long: nothing of it may run in the event loop."""

import io
import json
import select
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from runtime.client import Client, endpoint
from tests.bench.measure import Budget, ms
from tests.bench.place import Place
from tests.support.archives import docker_archive

BAR_S = 0.05
VOLUME_FILES, IMAGE_FILES, CONTAINERS = 200_000, 100_000, 100
BODY_BYTES = 64 << 20
AT_ONCE = 16


def pings(place: Place) -> Iterator[Budget]:
    """Ping every few milliseconds, from a process of its own, while each load goes on."""
    client = Client(endpoint(place.home.env, None))
    with _pinged(place) as quiet:
        time.sleep(3)
    for what, prepare, load in (
        (f"a volume of {VOLUME_FILES:,} files is removed", _fill_volume, _remove_volume),
        (f"an image of {IMAGE_FILES:,} files is loaded", _make_image, _load_image),
        ("that image is removed", _nothing, _remove_image),
        (f"a body of {BODY_BYTES >> 20} MiB is sent", _nothing, _send_body),
        ("a container with a million labels is asked for", _nothing, _send_labels),
        (f"{CONTAINERS} containers start, {AT_ONCE} at a time", _create_containers, _start_containers),
        ("they are removed", _nothing, _remove_containers),
    ):
        prepare(place, client)
        with _pinged(place) as longest:
            load(place, client)
        yield Budget(
            f"longest ping while {what}", ms(longest[0]), f"quiet {ms(quiet[0])}", longest[0] / quiet[0],
            f"≤ {ms(BAR_S)}", longest[0] <= BAR_S,
        )  # fmt: skip


@contextmanager
def _pinged(place: Place) -> Iterator[list[float]]:
    """Ping while the block runs; the list then has the longest ping's seconds."""
    command = [sys.executable, "-m", "tests.bench.pings", place.home.run / "engine.sock"]
    longest: list[float] = []
    place.home.skiff("engine", "start")  # it may have gone, idle, while the load was made
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pinging:
        assert pinging.stdout is not None
        pinging.stdout.readline()
        yield longest
        said, _ = pinging.communicate()
        longest.append(float(said))


def ping_until_stopped(path: str) -> None:
    """Ping on one connection until standard input ends, then print the longest ping's seconds."""

    longest = 0.0
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        print("begun", flush=True)
        while not select.select([0], [], [], 0.002)[0]:
            begun = time.perf_counter()
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: engine\r\n\r\n")
            answer = b""
            while not answer.endswith(b"OK"):
                answer += connection.recv(4096)
            longest = max(longest, time.perf_counter() - begun)
    print(longest)


def _nothing(place: Place, client: Client) -> None:
    return


def _fill_volume(place: Place, client: Client) -> None:
    client.create_volume({"Name": "many"})
    data = place.home.root / "volumes/many/_data"
    for folder in range(VOLUME_FILES // 1000):
        (data / str(folder)).mkdir()
        for file in range(1000):
            (data / str(folder) / str(file)).touch()


def _remove_volume(place: Place, client: Client) -> None:
    client.remove_volume("many")
    _until(lambda: not any((place.home.root / "trash").iterdir()))


def _make_image(place: Place, client: Client) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for number in range(IMAGE_FILES):
            member = tarfile.TarInfo(f"{number // 1000}/{number}")
            member.size = 1000
            archive.addfile(member, io.BytesIO(b"x" * 1000))
    (place.base / "many.tar").write_bytes(docker_archive([layer.getvalue()], names=("many:1",))[0])


def _load_image(place: Place, client: Client) -> None:
    with open(place.base / "many.tar", "rb") as archive:
        for _ in client.load(iter(lambda: archive.read(1 << 20), b"")):
            pass


def _remove_image(place: Place, client: Client) -> None:
    client.remove_image("many:1")
    _until(lambda: not any((place.home.root / "trash").iterdir()))


def _send_body(place: Place, client: Client) -> None:
    _post(place, b'{"Image": "' + b"x" * BODY_BYTES + b'"}')


def _send_labels(place: Place, client: Client) -> None:
    _post(place, json.dumps({"Image": "busybox", "Labels": {f"label.{n}": "x" for n in range(1_000_000)}}).encode())


def _post(place: Place, body: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place.home.run / "engine.sock"))
        head = "POST /containers/create HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\nConnection: close\r\n"
        with suppress(BrokenPipeError):
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        print(connection.recv(4096).decode().rpartition("\n\r\n")[2][:200].strip(), file=sys.stderr)


def _create_containers(place: Place, client: Client) -> None:
    for number in range(CONTAINERS):
        client.create_container({"Image": "busybox:latest", "Cmd": ["sleep", "1000"]}, name=f"many-{number}")


def _start_containers(place: Place, client: Client) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(client.start, [f"many-{number}" for number in range(CONTAINERS)]))


def _remove_containers(place: Place, client: Client) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: client.remove(f"many-{number}", force=True), range(CONTAINERS)))


def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.02)


if __name__ == "__main__":
    ping_until_stopped(sys.argv[1])
