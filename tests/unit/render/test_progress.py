import io
import json

import pytest

from compose.render.display import make_progress
from compose.render.live import LiveProgress
from compose.render.progress import ProgressDisplay
from runtime.errors import SkiffError


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_auto_is_live_on_a_terminal_and_plain_elsewhere():
    assert isinstance(make_progress("", "auto", {}, Screen()), LiveProgress)
    assert type(make_progress("", "auto", {}, io.StringIO())) is ProgressDisplay
    assert type(make_progress("", "never", {}, Screen())) is ProgressDisplay
    assert type(make_progress("plain", "auto", {}, Screen())) is ProgressDisplay
    assert type(make_progress("", "auto", {"TERM": "dumb"}, Screen())) is ProgressDisplay
    assert type(make_progress("", "auto", {"COMPOSE_PROGRESS": "plain"}, Screen())) is ProgressDisplay
    assert type(make_progress("", "auto", {"COMPOSE_ANSI": "never"}, Screen())) is ProgressDisplay


@pytest.mark.parametrize(
    ("mode", "ansi", "message"),
    [
        ("loud", "auto", 'unsupported --progress value "loud"'),
        ("tty", "never", "can't use --progress tty while ANSI support is disabled"),
        ("", "some", 'unsupported --ansi value "some"'),
    ],
)
def test_a_wrong_mode_is_refused(mode, ansi, message):
    with pytest.raises(SkiffError, match=message):
        make_progress(mode, ansi, {}, io.StringIO())


def test_json_shows_each_step_as_an_object():
    out = io.StringIO()
    with make_progress("json", "auto", {}, out) as progress:
        progress.begin("create", "web-1")
        progress.end("create", "web-1")
        progress.fail("start", "web-1")
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"id": "Container web-1", "status": "Working", "text": "Creating"},
        {"id": "Container web-1", "status": "Done", "text": "Created"},
        {"id": "Container web-1", "status": "Error", "text": "Error"},
    ]


def test_json_shows_a_dry_run_next_to_the_names():
    out = io.StringIO()
    with make_progress("json", "auto", {}, out) as progress:
        progress.prefix = "DRY-RUN MODE - "
        progress.begin("create", "web-1")
    assert json.loads(out.getvalue()) == {
        "dry-run": True,
        "id": "Container web-1",
        "status": "Working",
        "text": "Creating",
    }


def test_no_color_draws_without_colours():
    out = Screen()
    with make_progress("", "auto", {"NO_COLOR": "1"}, out) as progress:
        progress.begin("create", "web-1")
        progress.end("create", "web-1")
    assert "\x1b[3" not in out.getvalue()
    assert "✔ Container web-1" in out.getvalue()


def test_the_cursor_comes_back_after_an_error():
    out = Screen()

    def interrupted():
        with make_progress("", "auto", {}, out) as progress:
            progress.begin("create", "web-1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.getvalue().endswith("\x1b[?25h")


def test_a_display_that_showed_nothing_writes_nothing():
    out = Screen()
    with make_progress("", "auto", {}, out):
        pass
    assert out.getvalue() == ""
