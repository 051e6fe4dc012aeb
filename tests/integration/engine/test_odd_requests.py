"""1,600 requests that no client should send: each is answered with a reason, or its connection ends; the engine goes on."""

import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from runtime.api.routes import ROUTES
from tests.support.api import parse
from tests.support.project import eventually, pid_of

pytestmark = pytest.mark.root
COUNT, SEED, AT_ONCE = 800, 9, 8
PATIENCE_S = 0.5
"""How long an answer is waited for: some of these requests are for answers that never end."""
STOPS = "/skiff/v1/engine/stop"
VALUES = [
    "", "0", "-1", "1e999", "9" * 400, "nan", "true", "\0", "a\0b", "%", "..", "/", "/../../etc/passwd", "{}", "[]",
    '{"label": 1}', '{"label": {"a": "x"}}', '{"status": ["', '{"name": ["["]}', '{"until": ["9999-99-99"]}',
    '{"before": ["\\ud800"]}', "\udcff\udcfe", "é☃", "a" * 5000, "-ef; id", "$(id)", "SIGKILL", "999", "1.5", "sha256:",
    "a@sha256:00", "http://127.0.0.1:1/", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "1h", "-1h",
]  # fmt: skip
QUERIES = {
    "/logs": "stdout stderr follow tail since until timestamps details attached",
    "/attach": "detachKeys logs stream stdin stdout stderr",
    "/stats": "stream one-shot",
    "/archive": "path noOverwriteDirNonDir copyUIDGID",
    "/json": "all limit size filters digests shared-size",
    "/top": "ps_args",
    "/wait": "condition",
    "/resize": "h w",
    "/kill": "signal",
    "stop": "signal t",
    "/restart": "signal t",
    "/rename": "name",
    "/create": "name platform fromImage fromSrc repo tag message changes",
    "/build": "t remote dockerfile buildargs cachefrom labels target networkmode memory cpushares extrahosts shmsize ulimits "
    "squash outputs version platform nocache keep-storage filters q pull rm",
    "/commit": "container repo tag author comment pause changes",
    "/tag": "repo tag",
    "/events": "since until filters",
    "/df": "type",
    "/get": "names platform",
    "/load": "platform quiet",
    "/prune": "filters until",
    "/volumes": "force filters",
    "/containers/": "v force link",
    "/images": "force noprune filters reference",
    "": "filters term limit type reference verbose scope",
}
"""The queries of the paths in which a text is; the first counts."""
VERSIONS = [*[""] * 9, "/v1.47", "/v1.24", "/v0.0", "/v1.999", f"/v{'9' * 50}.1", "/v1.47/v1.47", "/"]
NAMES = ["..", "%00", "%ff%fe", "a" * 3000, "%2e%2e%2f", "nothing", "é", "%0d%0a", "sha256:0", "*", "%F0%9F%90%B3"]
DOCUMENTS = [
    "", "null", "1", '"x"', "[]", "{", "[" * 100_000, '{"a":' * 50_000, "{}}", "\0", '{"Image": "\0"}', "NaN", "1e999",
    '{"Image": "busybox", "Cmd": {"a": 1}}', '{"Image": 1}', '{"Image": "busybox", "HostConfig": []}', '{"Cmd": [[]]}',
    '{"Image": "busybox", "StopTimeout": 1e400}', '{"Image": "busybox", "StopTimeout": ' + "9" * 5000 + "}",
    '{"Image": "busybox", "Env": ["\\u0000"]}', '{"Image": "busybox", "Env": ["\\ud800"]}', '{"Name": "../../x"}',
    '{"Image": "busybox", "Image": "x", "image": 3}', '{"Image": "busybox", "HostConfig": {"Binds": ["::::"]}}',
    '{"Image": "busybox", "HostConfig": {"PortBindings": {"x": [{}]}}}', '{"Name": "' + "n" * 70_000 + '"}',
    '{"Driver": "x", "Name": "y", "IPAM": {"Config": [{"Subnet": "::/129"}]}}', '{"bindings": [{"HostPort": "-1"}]}',
    '{"Container": "x", "EndpointConfig": 7}', '{"Cmd": ["\\u0000"]}', '{"Cmd": [], "Tty": "yes"}', "\ufeff{}",
    '{"Detach": 1}', '{"manifest": "!", "blobs": {"a": "b"}}', "ÿ" * 1000, '{"Labels": {"' + "k" * 100_000 + '": ""}}',
]  # fmt: skip
HEADERS = [
    "Content-Length: -1", "Content-Length: 1, 1", "Content-Length: 99999999999999999999", "Content-Length: +5",
    "Content-Length: 5\r\nContent-Length: 6", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked, gzip", ": x", "x",
    "X-Registry-Auth: !!!", "X-Registry-Auth: bnVsbA==", "X-Registry-Auth: WzFd", "X-Registry-Config: e30",
    "Expect: 100-continue", "Expect: x", "Upgrade: h2c\r\nConnection: Upgrade", "Connection: Upgrade",
    "Upgrade: websocket\r\nConnection: upgrade", "Sec-WebSocket-Key: x", "Content-Type: text/plain",
    "Content-Type: application/json; charset=utf-16", "Host:", "X: \0", "X" * 300_000 + ": x", "X: " + "x" * 200_000,
    " Folded: x", "A: b\r\n c: d", "Content-Encoding: gzip",
]  # fmt: skip
CHUNKS = [
    b"0\r\n\r\n", b"-1\r\n", b"zz\r\n", b"5\r\nab", b"5\r\nabcdefg\r\n0\r\n\r\n", b"\r\n", b"ffffffffffffffffff\r\n",
    b"1;" + b"x" * 5000 + b"\r\na\r\n0\r\n\r\n", b"1\r\na\r\n0\r\nTrailer: x\r\n", b"1\na\n0\n\n",
    b"0x5\r\nabcde\r\n0\r\n\r\n", b"00000000000000005\r\n{}   \r\n0\r\n\r\n", b"2\r\n{}\r\n" * 1000,
]  # fmt: skip
WHOLE = [
    b"", b"\r\n", b"\0" * 1000, b"GET", b"GET / HTTP/1.1", b"GET  /_ping  HTTP/1.1\r\n\r\n", b"GET /_ping\r\n\r\n",
    b"\x16\x03\x01", b"GET /_ping HTTP/9.9\r\n\r\n", b"GET /_ping HTTP/1.1\r\n\r\n" * 50,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"OPTIONS * HTTP/1.1\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"GET http:///_ping HTTP/1.1\r\n\r\n", b"GET http://[::1/_ping HTTP/1.1\r\n\r\n", b"\xff\xfe" * 500,
    b"GET /%zz HTTP/1.1\r\n\r\n", b"get /_ping HTTP/1.1\r\n\r\n", b"GET /_ping HTTP/1.0\r\n\r\n", b"A" * 300_000,
    b"GET / HTTP/1.1\n\n", b"GET /_ping HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\nrubbish",
    b"HEAD /containers/json HTTP/1.1\r\n\r\nGET /_ping HTTP/1.1\r\n\r\n",
]  # fmt: skip


class Odd:
    """Draws requests; those of one seed are always the same."""

    def __init__(self, names):
        self.chance = random.Random(SEED)
        self.names = names

    def one(self):
        kind = self.chance.choice(
            (self.asked, self.asked, self.with_length, self.with_length, self.headed, self.chunked, self.whole)
        )
        return kind()

    def path(self):
        method, pattern, _ = self.chance.choice([route for route in ROUTES if STOPS not in route[1]])
        plain = re.sub(r"\(\?:([^|)]*)[^)]*\)", r"\1", pattern.replace("(?:/.*)?", "/x"))
        path = re.sub(r"\((?:\[\^/\]\+|\.\+)\)", lambda _: self.name(plain), plain)
        return method, self.chance.choice(VERSIONS) + path

    def name(self, path):
        is_real = self.chance.random() < 0.7
        return (
            next(name for place, name in self.names.items() if place in path) if is_real else self.chance.choice(NAMES)
        )

    def query(self, path):
        names = next(names for place, names in QUERIES.items() if place in path).split()
        drawn = [(self.chance.choice(names), self.chance.choice(VALUES)) for _ in range(self.chance.randrange(5))]
        return "&".join(f"{key}={quote(value.encode('utf-8', 'surrogateescape'))}" for key, value in drawn)

    def request(self, body=b"", *headers, method=None):
        found, path = self.path()
        lines = [f"{method or found} {path}?{self.query(path)} HTTP/1.1", "Host: engine", *headers]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body

    def asked(self):
        return self.request(
            method=self.chance.choice([None, None, None, "GET", "POST", "DELETE", "PUT", "HEAD", "PATCH"])
        )

    def with_length(self):
        body = self.chance.choice(DOCUMENTS).encode("utf-8", "surrogatepass")
        length = len(body) + self.chance.choice([0, 0, 0, 0, 1, -1, 1000])
        return self.request(body, "Content-Type: application/json", f"Content-Length: {length}", method="POST")

    def headed(self):
        return self.request(b"{}", *self.chance.sample(HEADERS, self.chance.randrange(1, 3)))

    def chunked(self):
        return self.request(self.chance.choice(CHUNKS), "Transfer-Encoding: chunked", method="POST")

    def whole(self):
        return self.chance.choice(WHOLE)


def answer_to(api, sent, ends):
    """Return what comes soon for `sent`; with `ends` the client has no more to say then."""
    with api.connect(timeout=None) as connection:
        connection.settimeout(PATIENCE_S)
        found = b""
        try:
            connection.sendall(sent)
            if ends:
                connection.shutdown(1)
            while len(found) < 100_000 and (data := connection.recv(1 << 16)):
                found += data
        except OSError:  # the engine has closed its end, or has no more to say
            pass
    return found


def resident_mb(pid):
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


SETTINGS = b"\x04"
"""The type of the frame that HTTP/2 begins with (RFC 9113, section 6.5)."""


def faults(api, numbered):
    """Return the request and its answer when that is none: 500, or another without a reason."""
    number, sent = numbered
    found = answer_to(api, sent, ends=number % 2 == 0)
    if not found or (sent.startswith(b"PRI ") and found[3:4] == SETTINGS):
        return []
    answer = parse(found.partition(b"HTTP/1.1 101")[0] or found)
    if answer.status < 500:
        return []
    try:
        has_reason = answer.status in (501, 503) and bool(json.loads(answer.body)["message"].strip())
    except (ValueError, KeyError, TypeError):
        has_reason = answer.status == 503 and bool(answer.body.strip())
    return [] if has_reason else [(number, sent[:2000], found[:2000])]


def test_odd_requests_are_refused_with_a_reason_and_harm_nobody(shared_home, api):
    api.run("sleep", "100000", name="odd")
    engine, log = pid_of(shared_home, "engine"), shared_home.run / "engine.log"
    begin = log.stat().st_size
    odd = Odd(
        {"/images": "busybox", "/distribution": "busybox", "/networks": "bridge", "/volumes": "odd-volume", "": "odd"}
    )
    requests = list(enumerate(odd.one() for _ in range(COUNT)))
    found, sizes = [], []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for first in range(0, COUNT, COUNT // 4):
            for faulty in pool.map(lambda one: faults(api, one), requests[first : first + COUNT // 4]):
                found += faulty
            sizes.append(resident_mb(engine))
    with open(log) as said:
        said.seek(begin)
        told = said.read()
    assert not found, "\n".join(map(str, found))
    assert "Traceback" not in told, told[:5000]
    assert pid_of(shared_home, "engine") == engine
    assert api.ask("GET", "/_ping").body == b"OK"
    print(f"engine after each quarter: {', '.join(f'{size:.1f} MB' for size in sizes)}")
    assert sizes[-1] - sizes[0] < 10
    eventually(lambda: api.ask("GET", "/info").json["NEventsListener"] == 0)
