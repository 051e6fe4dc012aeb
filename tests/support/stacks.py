"""Compose files that several test files bring up."""

WEB_AND_DB = """
name: {name}
services:
  web:
    image: busybox
    init: true
    command: sleep infinity
    environment: {{VERSION: "{version}"}}
    ports: ["127.0.0.1::80"]
    networks: [front, back]
    depends_on: [db]
  db:
    image: busybox
    init: true
    command: sleep infinity
    volumes: ["data:/data"]
    networks: [back]
    mem_limit: 64m
networks:
  front:
  back:
volumes:
  data:
"""
LEAVER = """{image: busybox, init: true, command: ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"]}"""
"""A service that exits with 7 when it is asked to stop, at once."""


def web_and_db(name, version=0):
    """Return a stack with a little of everything: two networks, a port, a volume, a limit. `version` changes `web`."""
    return WEB_AND_DB.format(name=name, version=version)
