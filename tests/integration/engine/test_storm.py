"""Many clients that do everything to the same few containers at once: each gets a clear answer, and none waits."""

import random
import threading

import pytest

pytestmark = pytest.mark.root

DOCKERS_OWN = (b"is not connected to", b"is not paused", b"is already paused", b"Cannot restart container ")
"""What dockerd answers 500 to, and so do we."""
CLIENTS, REQUESTS = 6, 60
CONTAINERS, NETWORKS = ("storm-a", "storm-b", "storm-c"), ("storm-0", "storm-1")
COMMANDS = (["sleep", "100"], ["sh", "-c", "trap 'exit 0' TERM; sleep 100 & wait"], ["true"], ["no-such-program"])


def draw(choices):
    """Draw a request: method, path, body."""
    name, network = choices.choice(CONTAINERS), choices.choice(NETWORKS)
    host = {
        "AutoRemove": choices.random() < 0.2,
        "NetworkMode": choices.choice(["bridge", "none", *NETWORKS]),
        "Binds": [f"{name}-data:/data"],
    }
    body = {"Image": "busybox", "Cmd": choices.choice(COMMANDS), "HostConfig": host}
    create = ("POST", f"/containers/create?name={name}", body)
    start = ("POST", f"/containers/{name}/start", None)
    others = [
        ("POST", f"/containers/{name}/stop?t={choices.choice('01')}", None),
        ("POST", f"/containers/{name}/kill", None),
        ("POST", f"/containers/{name}/restart?t=0", None),
        ("POST", f"/containers/{name}/pause", None),
        ("POST", f"/containers/{name}/unpause", None),
        ("POST", f"/containers/{name}/rename?name={choices.choice(CONTAINERS)}", None),
        ("POST", f"/containers/{name}/update", {"CpuShares": choices.choice([100, 200])}),
        ("DELETE", f"/containers/{name}?v=1&force={choices.choice('01')}", None),
        ("POST", "/containers/prune", None),
        ("GET", "/containers/json?all=1&size=1", None),
        ("GET", f"/containers/{name}/stats?stream=0&one-shot=1", None),
        ("GET", f"/containers/{name}/archive?path=/etc/passwd", None),
        ("POST", "/networks/create", {"Name": network}),
        ("DELETE", f"/networks/{network}", None),
        ("POST", f"/networks/{network}/connect", {"Container": name}),
        ("POST", f"/networks/{network}/disconnect", {"Container": name, "Force": choices.random() < 0.5}),
    ]
    return choices.choice([create] * 4 + [start] * 4 + others)


def test_every_request_of_a_storm_is_answered_and_nothing_stays_behind(api):
    for network in NETWORKS:
        api.ask("POST", "/networks/create", {"Name": network})
    failed = []

    def client(seed):
        choices = random.Random(seed)
        for _ in range(REQUESTS):
            method, path, body = draw(choices)
            try:
                answer = api.ask(method, path, body)
            except OSError as error:  # a time-out is one
                failed.append((method, path, error))
            else:
                if answer.status >= 500 and not any(told in answer.body for told in DOCKERS_OWN):
                    failed.append((method, path, answer.status, answer.body))

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for name in CONTAINERS:
        assert api.ask("DELETE", f"/containers/{name}?force=1&v=1").status in (204, 404)
    for name in CONTAINERS:  # once all are gone: they change names
        assert api.ask("DELETE", f"/volumes/{name}-data").status in (204, 404)
    for network in NETWORKS:
        assert api.ask("DELETE", f"/networks/{network}").status in (204, 404)
