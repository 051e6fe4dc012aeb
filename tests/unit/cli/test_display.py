"""Events of use cases as the terminal gets them."""

import json

import pytest

from compose import events
from compose.cli.display import Display
from runtime.errors import SkiffError


def shown(capsys, *happened, mode="plain", prefix=""):
    """Return what `happened` writes to standard output, standard error and as warnings."""
    warnings = []
    display = Display(mode, "auto", {}, warnings.append, prefix=prefix)
    for event in happened:
        display.show(event)
    out, err = capsys.readouterr()
    return out, err, warnings


STEP = (events.StepBegan("create", "web-1"), events.StepEnded("create", "web-1"))


def test_steps_of_a_block_are_lines_on_standard_error(capsys):
    out, err, _ = shown(capsys, events.WorkBegan(), *STEP, events.WorkEnded())
    assert out == ""
    assert [line.split() for line in err.splitlines()] == [
        ["Container", "web-1", how] for how in ("Creating", "Created")
    ]


def test_a_block_inside_another_is_part_of_it(capsys):
    nested = (events.WorkBegan(), events.WorkBegan(), events.WorkEnded(), *STEP, events.WorkEnded())
    assert shown(capsys, *nested, mode="quiet")[1] == ""


def test_a_dry_run_says_so_before_each_name(capsys):
    assert "DRY - Container web-1" in shown(capsys, events.WorkBegan(), *STEP, events.WorkEnded(), prefix="DRY - ")[1]


def test_json_has_a_document_a_line(capsys):
    lines = shown(capsys, events.WorkBegan(), *STEP, events.WorkEnded(), mode="json")[1].splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["Working", "Done"]


def test_an_unknown_mode_is_refused_when_the_first_block_begins(capsys):
    assert shown(capsys, events.Warned("careful"), mode="fancy")[2] == ["careful"]
    with pytest.raises(SkiffError, match='unsupported --progress value "fancy"'):
        shown(capsys, events.WorkBegan(), mode="fancy")


def test_what_follows_an_interrupt_is_shown_outside_of_blocks_even_when_quiet(capsys):
    assert shown(capsys, *STEP, mode="quiet")[1].endswith("Created\n")


@pytest.mark.parametrize(
    ("event", "out", "err"),
    [
        (events.Attached(("db-1", "web-1")), "Attaching to db-1, web-1\n", ""),
        (events.Aborting("web-1"), "", "Aborting on container exit...\n"),
        (events.ContainerExited("web-1", 3), 'container "web-1" exited with status code 3\n', ""),
        (events.HookPrinted("done"), "done\n", ""),
        (events.WatchReport("Watch enabled"), "  ⦿ Watch enabled\n", ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_other_event_has_its_line(capfdbinary, event, out, err):
    Display("plain", "auto", {}, print).show(event)
    written = capfdbinary.readouterr()
    assert (written.out.decode(), written.err.decode()) == (out, err)


@pytest.mark.parametrize(
    ("wanted", "took_s", "said"),
    [
        ("bell", 10, "\a"),
        ("desktop", 99, "\x1b]9;shop is up\x1b\\\a"),
        ("bell", 9.9, ""),
        ("", 99, ""),
        ("loud", 99, ""),
    ],
)
def test_a_user_who_wants_it_is_notified_of_the_end_of_what_took_long(capsys, monkeypatch, wanted, took_s, said):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("PATH", "")
    Display("plain", "auto", {"SKIFF_NOTIFY": wanted}, print).show(events.Finished("shop is up", took_s))
    assert capsys.readouterr() == ("", said)


def test_nothing_rings_where_nobody_watches(capsys):
    Display("plain", "auto", {"SKIFF_NOTIFY": "bell"}, print).show(events.Finished("shop is up", 99))
    assert capsys.readouterr() == ("", "")
