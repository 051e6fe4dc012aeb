"""The main job, step by step: the sample stack up, reached, its logs, down, up again with its data, gone.

Runs `skiff` from the PATH as a person would and stops at the first step that does not do what it should.
Needs root and the base image's tools (`make demo` installs both).
"""

import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

STACK = Path(__file__).resolve().parent
BASE = "debian:bookworm-slim"
ROW = "written by the demo"
PORT = os.environ.get("WEB_PORT", "8080")
URL = f"http://127.0.0.1:{PORT}"


def say(text):
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def skiff(*arguments, capture=False):
    """Run one skiff command in the sample's folder; a failure ends the demo with its exit code."""
    print("$ skiff " + " ".join(arguments), flush=True)
    begun = time.monotonic()
    result = subprocess.run(["skiff", *arguments], cwd=STACK, text=True, stdout=subprocess.PIPE if capture else None)
    print(f"  ({time.monotonic() - begun:.2f} s)", flush=True)
    if result.returncode:
        sys.exit(result.returncode)
    return result.stdout


def visit():
    with urllib.request.urlopen(f"{URL}/api", timeout=10) as answer:
        state = json.load(answer)
    print(f"GET {URL}/api -> {json.dumps(state)}", flush=True)
    return state


def expect(holds, otherwise):
    if not holds:
        sys.exit(f"demo: {otherwise}")


def provide_base_image():
    """Pull the base image where a registry answers; make it from Debian's own mirror where none does."""
    images = subprocess.run(["skiff", "image", "ls", "-q", BASE], text=True, capture_output=True)
    if images.returncode == 0 and images.stdout.strip():
        return
    say(f"The base image {BASE}")
    print(f"$ skiff image pull {BASE}", flush=True)
    if subprocess.run(["skiff", "image", "pull", BASE]).returncode:
        print("no registry has it here: made from Debian's own mirror instead", flush=True)
        skiff("image", "bootstrap", BASE)


def main():
    provide_base_image()

    say("Up: build what changed, start in order, wait until healthy")
    skiff("up", "-d", "--build", "--wait")

    say("Reach the page twice: the hits go up, the row is there")
    before = visit()
    form = urllib.parse.urlencode({"text": ROW}).encode()
    urllib.request.urlopen(f"{URL}/", data=form, timeout=10).close()
    after = visit()
    expect(after["hits"] > before["hits"], "the hit counter in Redis did not go up")
    expect(ROW in after["entries"], "the row did not reach PostgreSQL")

    say("Logs and state")
    skiff("logs", "--tail", "5")
    skiff("ps")

    say("Down, and up again: the row is still there")
    skiff("down")
    skiff("up", "-d", "--wait")
    expect(ROW in visit()["entries"], "the row was lost: the volume did not outlive `down`")

    say("Down with volumes: nothing is left")
    skiff("down", "-v")
    expect(not skiff("ps", "-a", "-q", capture=True).strip(), "containers are left")

    say("Done")


if __name__ == "__main__":
    main()
