"""All the tests of this folder once more, on a kernel of Debian's with cgroup version 2 alone, as most machines have."""

import os
import sys
from xml.etree import ElementTree

import pytest

from tests.support import virtual_machine

# without a processor that helps, the machine is emulated: some ten times slower
LONGEST_S = 850
pytestmark = [pytest.mark.root, pytest.mark.later, pytest.mark.timeout(LONGEST_S + 60)]


def test_everything_here_holds_on_version_2(tmp_path, is_unified):
    if is_unified:
        pytest.skip("this machine has version 2 itself: the other tests have run on it")
    reason = virtual_machine.why_not()
    if reason:
        pytest.skip(reason)
    results = f"{virtual_machine.RESULTS}/junit.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={results}"]
    outcome = virtual_machine.run(
        tmp_path,
        [*command, "--durations=5", "tests/integration/cgroup", f"--ignore={__file__}"],
        environment={"PATH": os.environ["PATH"]},
        timeout_s=LONGEST_S,
    )
    print(outcome.console)
    assert outcome.exit_code == 0, outcome.console
    suite = next(ElementTree.parse(tmp_path / "junit.xml").iter("testsuite"))
    assert (int(suite.get("skipped")), int(suite.get("tests")) > 20) == (0, True), outcome.console
