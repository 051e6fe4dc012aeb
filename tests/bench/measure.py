"""Timing and the table of budgets."""

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """One line of the table: what was measured, against what, and the bar that DESIGN sets.

    `ratio` is measured ÷ reference, both from this run; `holds` compares `measured` with `bar`, or the ratio where the
    bar is a ratio. None where no bar is set.
    """

    what: str
    measured: str
    reference: str
    ratio: float
    bar: str = ""
    holds: bool | None = None


def seconds(action: Callable[[], object], rounds: int = 5) -> float:
    """Return the median seconds of `rounds` calls, after one that warms up."""
    action()
    return statistics.median(once(action) for _ in range(rounds))


def once(action: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def command(arguments: Sequence[str], **options: object) -> Callable[[], object]:
    """Return a call that runs `arguments` to a successful end."""

    def run() -> None:
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)

    return run


def ms(value: float) -> str:
    """Return seconds as readable milliseconds."""
    return f"{value * 1000:.1f} ms"


def against_bar(what: str, measured_s: float, bar_s: float, floor_name: str, floor_s: float) -> Budget:
    """Return the budget of a duration with an absolute limit, and a lower bound of the same run."""
    return Budget(
        what, ms(measured_s), f"{floor_name} {ms(floor_s)}", measured_s / floor_s, f"≤ {ms(bar_s)}", measured_s <= bar_s
    )


def table(budgets: Sequence[Budget]) -> str:
    """Return the budgets as an aligned text table."""
    rows = [("what", "measured", "reference (same run)", "ratio", "bar", "")]
    said = {True: "holds", False: "MISSED", None: ""}
    rows += [(b.what, b.measured, b.reference, f"{b.ratio:.2f}", b.bar, said[b.holds]) for b in budgets]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
