import pytest

from runtime.container.logs.options import LogLimits, details, limits_of
from runtime.errors import BadRequestError


@pytest.mark.parametrize(
    ("driver", "options", "limits"),
    [
        ("", {}, LogLimits(None, 1)),
        ("json-file", {"max-file": "3"}, LogLimits(None, 3)),
        ("json-file", {"max-size": "10m"}, LogLimits(10_000_000, 1)),
        ("json-file", {"max-size": "1.5 kB", "max-file": "2", "compress": "true"}, LogLimits(1500, 2)),
        ("json-file", {"max-size": "100", "mode": "non-blocking", "max-buffer-size": "4m"}, LogLimits(100, 1)),
        ("json-file", {"labels": "a,b", "env-regex": "^X", "tag": "{{.Name}}"}, LogLimits(None, 1)),
        ("local", {}, LogLimits(20 << 20, 5)),
        ("local", {"max-size": "1g", "max-file": "1", "compress": "false"}, LogLimits(10**9, 1)),
        ("none", {"anything": "goes"}, LogLimits(1 << 20, 1)),
    ],
)
def test_options_say_how_much_is_kept(driver, options, limits):
    assert limits_of({"Type": driver, "Config": options}) == limits


@pytest.mark.parametrize(
    ("driver", "options", "message"),
    [
        ("splunk", {}, 'error looking up logging plugin splunk: plugin "splunk" not found'),
        ("json-file", {"max-files": "1"}, "unknown log opt 'max-files' for json-file log driver"),
        ("", {"max-files": "1"}, "unknown log opt 'max-files' for json-file log driver"),
        ("local", {"max-files": "1"}, "unknown log opt 'max-files' for log driver local"),
        ("json-file", {"max-size": "ten"}, "max-size: invalid size: 'ten'"),
        ("json-file", {"max-size": "-1"}, "max-size: invalid size: '-1'"),
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"max-file": "many"}, "max-file: invalid number: 'many'"),
        ("json-file", {"compress": "true", "max-size": "1m"}, "compress cannot be true when max-file is less than 2"),
        ("json-file", {"compress": "maybe"}, "compress: invalid boolean value: 'maybe'"),
        ("local", {"max-file": "-1"}, "max-file must not be negative"),
        ("local", {"max-file": "1"}, "compression cannot be enabled when max file count is 1"),
        ("json-file", {"mode": "fast"}, "logger: logging mode not supported: fast"),
        ("json-file", {"max-buffer-size": "1m"}, "max-buffer-size option is only supported with 'mode=non-blocking'"),
        ("json-file", {"env-regex": "("}, "env-regex: error parsing regexp"),
    ],
)
def test_options_that_cannot_be_are_refused_in_dockers_words(driver, options, message):
    with pytest.raises(BadRequestError, match=message.replace("(", r"\(")) as caught:
        limits_of({"Type": driver, "Config": options})
    assert caught.value.hint


def test_details_are_what_the_options_name_in_order_and_escaped():
    config = {"Config": {"labels": "b,missing", "env": "A", "env-regex": "^X", "tag": "{{.Name}}/{{ .ID }}"}}
    found = details(config, {"b": "1 & 2", "c": "3"}, {"A": "x", "XY": "z"}, {"Name": "web", "ID": "0123"})
    assert found == b"A=x,XY=z,b=1+%26+2,tag=web%2F0123 "
    assert details(None, {}, {}, {}) == b" "
