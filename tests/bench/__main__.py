"""Print every budget of the design as a ratio measured in this run: `python -m tests.bench [NAME ...]`."""

import sys

from tests.bench.builds import builds
from tests.bench.commands import commands, health_gate, many_services
from tests.bench.compose_files import compose_files
from tests.bench.containers import launch, memory
from tests.bench.layers import mount, unpack
from tests.bench.measure import table
from tests.bench.oci_program import oci_program
from tests.bench.pings import pings
from tests.bench.place import place
from tests.bench.soak import soak
from tests.bench.streams import logs, published_port
from tests.bench.watching import watching

BENCHES = {
    bench.__name__: bench
    for bench in (
        launch,
        oci_program,
        commands,
        compose_files,
        many_services,
        health_gate,
        memory,
        pings,
        logs,
        published_port,
        unpack,
        mount,
        builds,
        watching,
    )
}
BY_NAME_ALONE = {"soak": soak}
"""What takes too long to be run with the others."""


def main() -> None:
    """Run the benches named on the command line, or all."""
    budgets = []
    for name in sys.argv[1:] or BENCHES:
        with place() as here:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            budgets += {**BENCHES, **BY_NAME_ALONE}[name](here)
    print(table(budgets))


if __name__ == "__main__":
    main()
