"""The sample's web service: a guest book in PostgreSQL, a hit counter in Redis."""

import html
import json
import os
import signal
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2
import redis

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
)
"""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Guest book</title>
<h1>Guest book</h1>
<p>This page was opened <b>{hits}</b> times.</p>
<ul>{entries}</ul>
<form method="post"><input name="text" required autofocus> <button>Write</button></form>
</html>
"""


def connect():
    """Open a connection of the request's own, so that a restarted database is met by a fresh one."""
    return psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=3)


def entries():
    with connect() as database, database.cursor() as cursor:
        cursor.execute("SELECT text FROM entry ORDER BY id")
        return [text for (text,) in cursor.fetchall()]


def write(text):
    with connect() as database, database.cursor() as cursor:
        cursor.execute("INSERT INTO entry (text) VALUES (%s)", (text,))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cache = redis.Redis(host=os.environ["CACHE_HOST"], socket_timeout=3)

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/healthz":
            self.cache.ping()
            connect().close()
            self.answer(200, "text/plain", "ok\n")
        elif path == "/api":
            state = {"hits": self.cache.incr("hits"), "entries": entries()}
            self.answer(200, "application/json", json.dumps(state) + "\n")
        elif path == "/":
            items = "".join(f"<li>{html.escape(text)}</li>" for text in entries())
            self.answer(200, "text/html; charset=utf-8", PAGE.format(hits=self.cache.incr("hits"), entries=items))
        else:
            self.answer(404, "text/plain", "no such page\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        for text in urllib.parse.parse_qs(body).get("text", []):
            write(text)
        self.answer(303, "text/plain", "", {"Location": "/"})

    def answer(self, status, kind, text, headers=None):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with connect() as database, database.cursor() as cursor:
        cursor.execute(SCHEMA)
    server = ThreadingHTTPServer(("0.0.0.0", 8000), Handler)
    print("serving on port 8000")
    server.serve_forever()


if __name__ == "__main__":
    main()
