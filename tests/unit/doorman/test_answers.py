"""What the doorman answers in an engine's place."""

import json

from hypothesis import given
from hypothesis import strategies as st

from runtime.doorman.loop import _output
from runtime.refusal import json_string


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_its_text_is_json_whatever_an_engine_has_printed(text):
    expected = "".join(one if one >= " " or one == "\n" else " " for one in text)
    assert json.loads(json_string(text)) == expected


def test_the_reason_is_what_this_engine_said(tmp_path):
    log = tmp_path / "engine.log"
    log.write_text("old\n" * 10_000 + "skiff doorman: starting the engine\nskiff engine: no room\n    free some\n")
    assert _output(str(log), 40_000) == "no room\n    free some"
    assert _output(str(tmp_path / "none"), 0) == ""
