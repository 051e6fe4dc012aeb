"""`shim`: writes programs under docker compose's own names, for tools that call those."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from runtime.errors import SkiffError

PROGRAM = "docker-compose"
METADATA = '{"SchemaVersion":"0.1.0","Vendor":"Skiff","ShortDescription":"Docker Compose on Skiff"}'
# as a plugin it is called with the arguments of `docker`: its own flags, then `compose`
SCRIPT = """#!/bin/sh
# Calls Skiff where docker-compose or `docker compose` is meant.
if [ "$1" = docker-cli-plugin-metadata ]; then
    echo '%(metadata)s'
    exit 0
fi
case " $* " in
*" compose "*)
    while [ "$1" != compose ]; do
        case "$1" in
        -H | --host) DOCKER_HOST=$2; export DOCKER_HOST; shift 2 ;;
        --host=*) DOCKER_HOST=${1#*=}; export DOCKER_HOST; shift ;;
        -c | --context) DOCKER_CONTEXT=$2; export DOCKER_CONTEXT; shift 2 ;;
        --context=*) DOCKER_CONTEXT=${1#*=}; export DOCKER_CONTEXT; shift ;;
        --config) DOCKER_CONFIG=$2; export DOCKER_CONFIG; shift 2 ;;
        --config=*) DOCKER_CONFIG=${1#*=}; export DOCKER_CONFIG; shift ;;
        -D | --debug | --tls | --tlsverify) shift ;;
        *) break ;;
        esac
    done
    if [ "$1" = compose ]; then
        shift
    fi
    ;;
esac
exec %(command)s "$@"
"""


def shim(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Where to write them, for example /usr/local/bin")],
) -> None:
    """Write docker-compose, and a plugin for `docker compose`, that call Skiff.

    DIR/docker-compose is for the PATH; DIR/cli-plugins/docker-compose is a plugin of the docker command line: with
    DIR as DOCKER_CONFIG (such as ~/.docker), `docker compose` is Skiff.
    """
    command = shlex.join([sys.executable, "-m", "compose.cli.entry"])
    text = SCRIPT % {"metadata": METADATA, "command": command}
    for path in (Path(directory, PROGRAM), Path(directory, "cli-plugins", PROGRAM)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.part")
            part.write_text(text)
            part.chmod(0o755)
            os.replace(part, path)
        except OSError as error:
            raise SkiffError(f"{path} can't be written: {error.strerror}", "name a directory of your own") from error
        print(path)
