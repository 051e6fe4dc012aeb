"""A folder of Compose files, and the real `skiff config` run in it."""

import json
import os
import subprocess
import sys


class Folder:
    """Files below `path`; commands run there with no variables but those that a test gives."""

    def __init__(self, path):
        self.path = path

    def file(self, name, text):
        """Write one file; `text` may be bytes."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return self

    def run(self, *arguments, cwd="", input=None, **environ):
        """Run skiff with `arguments` and return the finished process."""
        return subprocess.run(
            [sys.executable, "-m", "compose.cli.main", *map(str, arguments)],
            cwd=self.path / cwd,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ},
            capture_output=True,
            text=True,
            timeout=60,
            input=input,
        )

    def output(self, *arguments, **choices):
        """Return what a command that must succeed writes."""
        done = self.run(*arguments, **choices)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def config(self, *arguments, **choices):
        """Return the model that `config` makes; `arguments` come before the command."""
        return json.loads(self.output(*arguments, "config", "--format", "json", **choices))

    def refusal(self, *arguments, **choices):
        """Return what `config`, which must fail, says."""
        done = self.run(*arguments, "config", **choices)
        assert done.returncode == 1, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr
        return done.stderr
