"""Where `skiff` begins: `skiff oci` is a program of its own that does without the command line of stacks."""

from __future__ import annotations

import importlib
import sys

PROGRAM = "runtime.oci.program.shield"


def main() -> None:
    """Run the OCI runtime program when that is what is called, else a command."""
    if sys.argv[1:2] == ["oci"]:
        # by its name, as a shell would: nothing of the orchestrator is to know the runtime but as an API client
        importlib.import_module(PROGRAM).main(sys.argv[2:])
    from compose.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
