"""Real Compose files with what docker compose 2.40.3 made of each, read from the shared folder next to the checkout."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCORE = Path(__file__).resolve().parents[3] / "shared/conformance/score.py"

EXPLAINED: dict[str, str] = {}
"""Every difference that is left, and why."""


@pytest.mark.conformance
@pytest.mark.skipif(not SCORE.exists(), reason="the shared reference data are not next to this checkout")
def test_every_verdict_and_nearly_every_model_is_the_references():
    skiff = Path(sys.executable).parent / "skiff"
    told = subprocess.run(
        [sys.executable, SCORE, "--show", "1000", skiff], capture_output=True, text=True, timeout=600, check=True
    ).stdout
    *lines, last = told.splitlines()
    verdict, exact = map(float, re.findall(r"([\d.]+) %", last))
    assert verdict == 100.0, told
    assert exact >= 98.0, told
    left = [line for line in lines if line.startswith(("DIFF", "VERDICT"))]
    assert [line for line in left if not any(known in line for known in EXPLAINED)] == []
