"""Drivers that send output elsewhere: their options as dockerd 28.5.2 refuses them, and the bytes that it sends."""

import base64
import itertools
import json
import re
import zlib

import pytest

from runtime.container.logs.files import STDERR, STDOUT
from runtime.container.logs.messages import Line, LineSplitter, Subject, acknowledged, chunk_of, encoder
from runtime.container.logs.options import is_readable, limits_of, tag_of
from runtime.container.logs.remote import destination
from runtime.errors import BadRequestError

REFUSED = [
    ("nosuch", {}, 'error looking up logging plugin nosuch: plugin "nosuch" not found'),
    ("local", {"tag": "x"}, "unknown log opt 'tag' for log driver local"),
    ("json-file", {"mode": "non-blocking", "max-buffer-size": "x"}, "error parsing option max-buffer-size: invalid size: 'x'"),
    ("syslog", {"syslog-address": "foo"}, "unsupported scheme: ''"),
    ("syslog", {"syslog-address": "http://x"}, "unsupported scheme: 'http'"),
    ("syslog", {"syslog-address": "unix:///nosuch"}, "stat /nosuch: no such file or directory"),
    ("syslog", {"syslog-facility": "x"}, "invalid syslog facility"),
    ("syslog", {"syslog-format": "x"}, "Invalid syslog format"),
    ("syslog", {"nosuch": "x"}, "unknown log opt 'nosuch' for syslog log driver"),
    ("journald", {"nosuch": "x"}, "unknown log opt 'nosuch' for journald log driver"),
    ("fluentd", {"fluentd-address": "foo://x"}, "invalid fluentd-address (foo://x): unsupported scheme: 'foo'"),
    (
        "fluentd", {"fluentd-address": "localhost:99999"},
        "invalid fluentd-address (localhost:99999): invalid port: strconv.ParseUint: parsing \"99999\": value out of range",
    ),
    ("fluentd", {"fluentd-async": "x"}, 'strconv.ParseBool: parsing "x": invalid syntax'),
    ("fluentd", {"fluentd-retry-wait": "x"}, 'time: invalid duration "x"'),
    ("fluentd", {"fluentd-max-retries": "x"}, 'strconv.ParseUint: parsing "x": invalid syntax'),
    ("gelf", {}, "gelf-address is a required parameter"),
    ("gelf", {"gelf-address": "foo"}, "gelf: endpoint needs to be TCP or UDP"),
    ("gelf", {"gelf-address": "udp://127.0.0.1"}, "gelf: please provide gelf-address as proto://host:port"),
    ("gelf", {"gelf-address": "tcp://h:1", "gelf-compression-type": "none"}, "compression is only supported on UDP"),
    (
        "gelf", {"gelf-address": "udp://h:1", "gelf-compression-type": "x"},
        'unknown value "x" for log opt "gelf-compression-type" for gelf log driver',
    ),
    ("gelf", {"gelf-address": "udp://h:1", "gelf-tcp-max-reconnect": "1"}, '"gelf-tcp-max-reconnect" is only valid for TCP'),
    ("gelf", {"gelf-address": "udp://h:1", "nosuch": "1"}, 'unknown log opt "nosuch" for gelf log driver'),
]  # fmt: skip


@pytest.mark.parametrize(("driver", "options", "message"), REFUSED)
def test_options_are_refused_in_dockerds_words(driver, options, message):
    with pytest.raises(BadRequestError) as refused:
        limits_of({"Type": driver, "Config": options})
    assert refused.value.message == message


def test_what_stays_here_has_limits_and_can_be_read():
    config = {"Type": "gelf", "Config": {"gelf-address": "udp://h:1", "cache-max-size": "1k", "cache-max-file": "2"}}
    assert (limits_of(config).max_bytes, limits_of(config).files) == (1000, 2)
    assert is_readable(config)
    assert not is_readable({"Type": "gelf", "Config": {"cache-disabled": "true"}})
    assert is_readable({"Type": "json-file", "Config": {"cache-disabled": "true"}})


def test_a_tag_is_a_template_of_the_containers_fields():
    fields = {"ID": "abc", "Name": "web"}
    assert tag_of({}, fields) == "abc"
    assert tag_of({"tag": "x/{{.Name}}/{{ .ID }}"}, fields) == "x/web/abc"
    for template, message in (
        ("{{.Nosuch}}", 'executing "log-tag" at <.Nosuch>: can\'t evaluate field Nosuch in type *logger.Info'),
        ("{{", "template: log-tag:1: unclosed action"),
    ):
        with pytest.raises(BadRequestError) as refused:
            tag_of({"tag": template}, fields)
        assert message in refused.value.message


def test_lines_are_put_together_by_stream_and_long_ones_sent_in_parts():
    splitter = LineSplitter()
    assert list(splitter.feed(1, STDOUT, b"one\ntw")) == [Line(1, STDOUT, b"one")]
    assert list(splitter.feed(2, STDERR, b"bad\n")) == [Line(2, STDERR, b"bad")]
    assert list(splitter.feed(3, STDOUT, b"o\n\n")) == [Line(1, STDOUT, b"two"), Line(3, STDOUT, b"")]
    assert splitter.is_empty
    first, second = [*splitter.feed(4, STDOUT, b"a" * 16384), *splitter.feed(5, STDOUT, b"bc\n")]
    assert (first.data, second.data) == (b"a" * 16384, b"bc")
    assert (first.part.ordinal, first.part.is_last, second.part.ordinal, second.part.is_last) == (1, False, 2, True)
    assert first.part.id == second.part.id
    assert list(splitter.feed(6, STDOUT, b"rest")) == []
    (rest,) = splitter.end()
    assert (rest.data, rest.part.is_last) == (b"rest", False)


SUBJECT = Subject(
    "f" * 64, "web", "sha256:1", "busybox", "sh -c x", "2026-01-01T00:00:00Z", "tag", "host", {"lab": "el"}
)
AT_NS = 1_795_953_091_265_281_000


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("", r"<155>[A-Z][a-z]{2} [ 0-3][0-9] ..:..:.. tag\[[0-9]+\]: two\n"),
        ("rfc3164", r"<155>[A-Z][a-z]{2} [ 0-3][0-9] ..:..:.. host tag\[[0-9]+\]: two\n"),
        ("rfc5424", r"<155>1 2026-..-..T..:..:..(Z|[+-]..:..) host tag [0-9]+ tag - two\n"),
        ("rfc5424micro", r"<155>1 2026-..-..T..:..:..\.265281(Z|[+-]..:..) host tag [0-9]+ tag - two\n"),
    ],
)
def test_syslog_has_facility_severity_and_time(form, pattern):
    target = destination("syslog", {"syslog-address": "udp://h", "syslog-facility": "local3", "syslog-format": form})
    (message,) = encoder(target, SUBJECT)(Line(AT_NS, STDERR, b"two"))

    assert re.fullmatch(pattern, message.decode())


def test_gelf_is_json_that_is_compressed_and_cut_for_udp():
    target = destination("gelf", {"gelf-address": "udp://h:1"})
    (message,) = encoder(target, SUBJECT)(Line(AT_NS, STDOUT, b"one"))
    assert json.loads(zlib.decompress(message, 31)) == {
        "version": "1.1", "host": "host", "short_message": "one", "timestamp": 1795953091.265, "level": 6,
        "_command": "sh -c x", "_container_id": "f" * 64, "_container_name": "web", "_created": "2026-01-01T00:00:00Z",
        "_image_id": "sha256:1", "_image_name": "busybox", "_lab": "el", "_tag": "tag",
    }  # fmt: skip
    assert encoder(target, SUBJECT)(Line(AT_NS, STDOUT, b"")) == []
    plain = destination("gelf", {"gelf-address": "udp://h:1", "gelf-compression-type": "none"})
    chunks = encoder(plain, SUBJECT)(Line(AT_NS, STDOUT, b"a" * 3000))
    assert [(one[:2], one[10:12], len(one) <= 1420) for one in chunks] == [
        (b"\x1e\x0f", bytes((number, 3)), True) for number in range(3)
    ]
    assert json.loads(b"".join(one[12:] for one in chunks))["short_message"] == "a" * 3000
    (stream,) = encoder(destination("gelf", {"gelf-address": "tcp://h:1"}), SUBJECT)(Line(AT_NS, STDOUT, b"one"))
    assert stream.endswith(b"}\0")


def test_fluentd_is_messagepack():
    (message,) = encoder(destination("fluentd", {}), SUBJECT)(Line(AT_NS, STDOUT, b"one"))
    assert message == (
        b"\x94\xa3tag\xce" + (AT_NS // 10**9).to_bytes(4, "big") + b"\x85\xaccontainer_id\xd9\x40" + b"f" * 64
        + b"\xaecontainer_name\xa4/web\xa6source\xa6stdout\xa3log\xa3one\xa3lab\xa2el\x80"
    )  # fmt: skip
    exact = destination("fluentd", {"fluentd-sub-second-precision": "true"})
    (message,) = encoder(exact, SUBJECT)(Line(AT_NS, STDOUT, b"one"))
    assert message[5:15] == b"\xd7\x00" + (AT_NS // 10**9).to_bytes(4, "big") + (265_281_000).to_bytes(4, "big")


def test_fluentd_is_asked_to_confirm_each_message():
    encode = encoder(destination("fluentd", {"fluentd-request-ack": "true"}), SUBJECT)
    messages = [*encode(Line(AT_NS, STDOUT, b"one")), *encode(Line(AT_NS, STDOUT, b"two"))]
    chunks = [chunk_of(message) for message in messages]
    assert len(set(chunks)) == 2
    for message, chunk in zip(messages, chunks, strict=True):
        assert message.endswith(b"\x81\xa5chunk\xb8" + chunk)
        assert len(base64.b64decode(chunk)) == 16
    # as a string of one byte's length, of its own length byte, and as a binary
    for form in (b"\x81\xa3ack\xb8%b", b"\x81\xd9\x03ack\xd9\x18%b", b"\x81\xa3ack\xc4\x18%b"):
        answer = b"".join(form % chunk for chunk in chunks)
        assert acknowledged(answer) == set(chunks)
        assert acknowledged(answer[:-1]) == {chunks[0]}


def test_a_syslog_message_of_rfc_5424_has_its_length_before_it_by_tls():
    line = Line(AT_NS, STDOUT, b"one")
    for address, form in itertools.product(("tcp://h:1", "tcp+tls://h:1"), ("rfc3164", "rfc5424", "rfc5424micro")):
        options = {"syslog-address": address, "syslog-format": form}
        (message,) = encoder(destination("syslog", options), SUBJECT)(line)
        if form != "rfc3164" and "tls" in address:
            length, _, message = message.partition(b" ")
            assert int(length) == len(message)
        assert message.startswith(b"<30>")
        assert message.endswith(b"one\n")


def test_journald_gets_fields():
    (message,) = encoder(destination("journald", {}), SUBJECT)(Line(AT_NS, STDERR, b"two"))
    fields = dict(line.split("=", 1) for line in message.decode().splitlines())
    assert fields.pop("CONTAINER_LOG_EPOCH")
    assert fields == {
        "PRIORITY": "3", "MESSAGE": "two", "CONTAINER_ID": "f" * 12, "CONTAINER_ID_FULL": "f" * 64, "CONTAINER_NAME": "web",
        "CONTAINER_TAG": "tag", "SYSLOG_IDENTIFIER": "tag", "IMAGE_NAME": "busybox", "LAB": "el",
        "SYSLOG_TIMESTAMP": "2026-11-29T11:51:31.265281000Z", "CONTAINER_LOG_ORDINAL": "1",
    }  # fmt: skip
