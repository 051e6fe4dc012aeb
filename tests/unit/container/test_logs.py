import os
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.container.logs import STDERR, STDOUT, LogReader, LogWriter, Selection, select, stamp

PIECES = st.lists(
    st.tuples(
        st.sampled_from([STDOUT, STDERR]), st.sampled_from([b"a\n", b"bb", b"c\nd\n", b"\n", b"e" * 300 + b"\n"])
    ),
    max_size=12,
)


def write(directory, pieces):
    """Write pieces to the log in `directory` through real pipes."""
    writer = LogWriter(directory)
    pipes = {stream: os.pipe() for stream in (STDOUT, STDERR)}
    for stream, data in pieces:
        os.write(pipes[stream][1], data)
        assert writer.take(pipes[stream][0], stream) == len(data)
    for ends in pipes.values():
        for end in ends:
            os.close(end)
    writer.close()


@pytest.fixture
def log(tmp_path):
    """Writes pieces to a fresh log; returns its directory."""
    numbers = count()

    def make(pieces):
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        write(directory, pieces)
        return directory

    return make


def read(directory, selection):
    reader = LogReader(directory)
    try:
        return list(select(reader, reader.chunks(), selection))
    finally:
        reader.close()


def times_of(directory):
    reader = LogReader(directory)
    times = [chunk.time_ns for chunk in reader.chunks()]
    reader.close()
    return times


def joined(frames, stream=None):
    return b"".join(data for of, data in frames if stream in (None, of))


any_log = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@any_log
@given(pieces=PIECES)
def test_every_byte_comes_back_once_and_in_order(log, pieces):
    frames = read(log(pieces), Selection())
    assert joined(frames) == b"".join(data for _, data in pieces)
    for stream in (STDOUT, STDERR):
        assert joined(frames, stream) == b"".join(data for of, data in pieces if of == stream)


@any_log
@given(pieces=PIECES, stream=st.sampled_from([STDOUT, STDERR]))
def test_one_stream_can_be_had_alone(log, pieces, stream):
    assert joined(read(log(pieces), Selection(frozenset((stream,))))) == b"".join(d for of, d in pieces if of == stream)


@any_log
@given(pieces=st.lists(st.sampled_from([b"a\n", b"bb", b"c\nd\n", b"\n"]), max_size=12), lines=st.integers(0, 8))
def test_tail_gives_the_last_lines(log, pieces, lines):
    whole = b"".join(pieces)
    wanted = whole.splitlines(keepends=True)[-lines:] if lines else []
    assert joined(read(log([(STDOUT, piece) for piece in pieces]), Selection(tail=lines))) == b"".join(wanted)


@any_log
@given(first=PIECES, second=PIECES, third=PIECES)
def test_following_a_growing_log_misses_and_doubles_nothing(log, first, second, third):
    directory = log(first)
    reader = LogReader(directory)
    seen, found = 0, b""
    for more in (second, third, []):
        chunks = reader.chunks(seen)
        found += joined(select(reader, chunks, Selection()))
        seen = chunks[-1].end if chunks else seen
        write(directory, more)
    reader.close()
    assert found == b"".join(data for _, data in (*first, *second, *third))


def test_each_line_has_the_time_of_its_beginning(log):
    directory = log([(STDOUT, b"one\ntw"), (STDERR, b"err\n"), (STDOUT, b"o\n")])
    times, shown = times_of(directory), read(directory, Selection(timestamps=True))
    assert joined(shown, STDOUT) == stamp(times[0]) + b"one\n" + stamp(times[0]) + b"two\n"
    assert joined(shown, STDERR) == stamp(times[1]) + b"err\n"


def test_since_and_until_choose_by_time(log):
    directory = log([(STDOUT, b"1\n"), (STDOUT, b"2\n"), (STDOUT, b"3\n")])
    times = times_of(directory)
    assert joined(read(directory, Selection(since_ns=times[1]))) == b"2\n3\n"
    assert joined(read(directory, Selection(until_ns=times[1]))) == b"1\n2\n"


def test_a_record_without_bytes_of_a_killed_engine_is_no_chunk(tmp_path):
    writer = LogWriter(tmp_path)
    reading, writing = os.pipe()
    os.write(writing, b"kept\n")
    writer.take(reading, STDOUT)
    os.set_blocking(reading, False)
    with pytest.raises(BlockingIOError):  # the record is written, nothing follows it
        writer.take(reading, STDOUT)
    writer.close()
    with open(tmp_path / "log.index", "ab") as index:
        index.write(b"half a record")
    again = LogWriter(tmp_path)
    os.write(writing, b"later\n")
    again.take(reading, STDOUT)
    again.close()
    os.close(reading)
    os.close(writing)
    assert joined(read(tmp_path, Selection())) == b"kept\nlater\n"


def test_times_are_written_as_docker_writes_them():
    assert stamp(1_700_000_000_000_000_042) == b"2023-11-14T22:13:20.000000042Z "
