import os
import time
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.container.logs.files import RECORD, STDERR, STDOUT, segment_starts
from runtime.container.logs.options import UNLIMITED, LogLimits
from runtime.container.logs.reader import MAX_HELD, LogReader
from runtime.container.logs.selection import LONGEST_REST, LogSlice, Selection, Stamps
from runtime.container.logs.writer import MIN_TAKEN_BYTES, LogWriter

PIECES = st.lists(
    st.tuples(
        st.sampled_from([STDOUT, STDERR]), st.sampled_from([b"a\n", b"bb", b"c\nd\n", b"\n", b"e" * 300 + b"\n"])
    ),
    max_size=12,
)
EVERYTHING = Selection()
SMALL = LogLimits(1, 3)
"""Segments as small as they can be: each holds MIN_TAKEN_BYTES."""


class Flow:
    """Writes to a log through real pipes."""

    def __init__(self, directory, limits=UNLIMITED, readers=(), began_ns=0):
        self.writer = LogWriter(directory, limits, readers, began_ns)
        self.pipes = {stream: os.pipe() for stream in (STDOUT, STDERR)}

    def put(self, stream, data):
        reading, writing = self.pipes[stream]
        os.write(writing, data)
        taken = 0
        while taken < len(data):
            taken += self.writer.take(reading, stream)
        return self

    def close(self):
        for ends in self.pipes.values():
            for end in ends:
                os.close(end)
        self.writer.close()


def write(directory, pieces, limits=UNLIMITED):
    flow = Flow(directory, limits)
    for stream, data in pieces:
        flow.put(stream, data)
    flow.close()


@pytest.fixture
def log(tmp_path):
    """Writes pieces to a fresh log; returns its directory."""
    numbers = count()

    def make(pieces, limits=UNLIMITED):
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        write(directory, pieces, limits)
        return directory

    return make


def begun(reader, selection=EVERYTHING):
    """Return the passage that is wanted, the reader at its beginning."""
    passage = LogSlice(reader, selection)
    for _ in passage.find():
        pass
    return passage


def drain(reader, passage):
    """Return the frames of everything that there is now."""
    found = []
    while chunks := reader.chunks():
        found += passage.frames(chunks)
        reader.position = chunks[-1].end
    return found


def read(directory, selection=EVERYTHING):
    reader = LogReader(directory)
    try:
        return drain(reader, begun(reader, selection))
    finally:
        reader.close()


def chunks_of(directory):
    reader = LogReader(directory)
    found = []
    while chunks := reader.chunks():
        found += chunks
        reader.position = chunks[-1].end
    reader.close()
    return found


def times_of(directory):
    return [chunk.time_ns for chunk in chunks_of(directory)]


def stamp(time_ns):
    return Stamps().of(time_ns)


def joined(frames, stream=None):
    return b"".join(data for of, data in frames if stream in (None, of))


def lines_of(pieces):
    """Return the lines of `pieces` in the order in which they began: (piece in which it began, stream, line)."""
    found, open_lines = [], {}
    for number, (stream, data) in enumerate(pieces):
        for part in data.splitlines(keepends=True):
            if stream in open_lines:
                at = open_lines.pop(stream)
                found[at] = (*found[at][:2], found[at][2] + part)
            else:
                at = len(found)
                found.append((number, stream, part))
            if not part.endswith(b"\n"):
                open_lines[stream] = at
    return found


def by_stream(lines):
    return {stream: b"".join(line for _, of, line in lines if of == stream) for stream in (STDOUT, STDERR)}


def shown(frames):
    return {stream: joined(frames, stream) for stream in (STDOUT, STDERR)}


any_log = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@any_log
@given(pieces=PIECES)
def test_every_byte_comes_back_once_and_in_order(log, pieces):
    frames = read(log(pieces))
    assert joined(frames) == b"".join(data for _, data in pieces)
    for stream in (STDOUT, STDERR):
        assert joined(frames, stream) == b"".join(data for of, data in pieces if of == stream)


@any_log
@given(pieces=PIECES, stream=st.sampled_from([STDOUT, STDERR]))
def test_one_stream_can_be_had_alone(log, pieces, stream):
    assert joined(read(log(pieces), Selection(frozenset((stream,))))) == b"".join(d for of, d in pieces if of == stream)


@any_log
@given(pieces=PIECES, lines=st.integers(0, 8))
def test_tail_gives_the_lines_that_began_last_and_gives_them_whole(log, pieces, lines):
    wanted = lines_of(pieces)[-lines:] if lines else []
    assert shown(read(log(pieces), Selection(tail=lines))) == by_stream(wanted)


@any_log
@given(pieces=PIECES, data=st.data())
def test_since_and_until_cut_between_lines(log, pieces, data):
    directory = log(pieces)
    times = times_of(directory)
    at = data.draw(st.integers(0, len(pieces)))
    began = [line for line in lines_of(pieces) if line[0] >= at]
    since = times[at] if at < len(pieces) else (times[-1] + 1 if times else 1)
    assert shown(read(directory, Selection(since_ns=since))) == by_stream(began)
    before = {s: b"".join(d for of, d in pieces[:at] if of == s) for s in (STDOUT, STDERR)}
    assert shown(read(directory, Selection(until_ns=times[at - 1] if at else 1))) == before


@any_log
@given(pieces=PIECES)
def test_each_line_has_the_time_of_its_beginning(log, pieces):
    directory = log(pieces)
    times = times_of(directory)
    stamped = [(number, stream, stamp(times[number]) + line) for number, stream, line in lines_of(pieces)]
    assert shown(read(directory, Selection(timestamps=True))) == by_stream(stamped)


@any_log
@given(first=PIECES, second=PIECES, third=PIECES, timestamps=st.booleans())
def test_following_a_growing_log_misses_and_doubles_nothing(log, first, second, third, timestamps):
    directory = log(first)
    reader = LogReader(directory)
    passage = begun(reader, Selection(timestamps=timestamps))
    found = []
    for more in (second, third, []):
        found += drain(reader, passage)
        write(directory, more)
    reader.close()
    pieces = (*first, *second, *third)
    times = times_of(directory)
    lines = [(n, s, (stamp(times[n]) if timestamps else b"") + line) for n, s, line in lines_of(pieces)]
    assert shown(found) == by_stream(lines)


@any_log
@given(
    sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=40),
    files=st.integers(1, 4),
    max_bytes=st.integers(1, 20_000),
)
def test_a_log_with_limits_keeps_the_last_lines_whole_and_no_more_than_it_may(log, sizes, files, max_bytes):
    lines = [b"%d %s\n" % (number, b"x" * size) for number, size in enumerate(sizes)]
    directory = log([(STDOUT, line) for line in lines], LogLimits(max_bytes, files))
    kept = joined(read(directory))
    assert b"".join(lines).endswith(kept)
    assert not kept or kept.split(b" ")[0] in {line.split(b" ")[0] for line in lines}
    assert len(segment_starts(directory)) <= files
    largest = max(max_bytes, MIN_TAKEN_BYTES) + MIN_TAKEN_BYTES
    assert all(path.stat().st_size < largest for path in directory.glob("*.data"))
    if sum(map(len, lines)) <= max_bytes:
        assert kept == b"".join(lines)
    assert len(list(directory.glob("*.index"))) == len(list(directory.glob("*.data")))


@any_log
@given(
    steps=st.lists(st.tuples(st.integers(0, 6), st.sampled_from([STDOUT, STDERR]), st.booleans()), max_size=40),
    data=st.data(),
)
def test_who_follows_a_log_with_limits_gets_every_line_once_also_when_the_engine_is_killed(
    tmp_path_factory, steps, data
):
    directory = tmp_path_factory.mktemp("log")
    readers = set()
    flow = Flow(directory, SMALL, readers)
    reader = LogReader(directory)
    readers.add(reader)
    passage = begun(reader)
    written, found = {STDOUT: b"", STDERR: b""}, []
    for number, (size, stream, reads) in enumerate(steps):
        line = b"%d %s\n" % (number, b"y" * 1000 * size)
        flow.put(stream, line)
        written[stream] += line
        if reads:
            found += drain(reader, passage)
        if data.draw(st.integers(0, 9)) == 0:
            flow.close()  # what a killed engine leaves: no more than is written here
            flow = Flow(directory, SMALL, readers)
    found += drain(reader, passage)
    flow.close()
    reader.close()
    assert shown(found) == written


def test_a_reader_that_stays_too_far_behind_goes_on_with_what_is_kept(tmp_path):
    readers = set()
    flow = Flow(tmp_path, LogLimits(1, 1), readers)
    reader = LogReader(tmp_path)
    readers.add(reader)
    passage = begun(reader)
    lines = [b"%06d %s\n" % (number, b"z" * (MIN_TAKEN_BYTES - 8)) for number in range(MAX_HELD + 10)]
    for line in lines:
        flow.put(STDOUT, line)
    assert joined(drain(reader, passage)) == b"".join([*lines[:MAX_HELD], lines[-1]])
    assert len(os.listdir(tmp_path)) == 2
    reader.close()
    flow.close()


@pytest.mark.parametrize("timestamps", [False, True])
def test_who_missed_something_is_given_whole_lines_on_both_sides(tmp_path, timestamps):
    flow = Flow(tmp_path, LogLimits(1, 1))
    reader = LogReader(tmp_path)
    passage = begun(reader, Selection(timestamps=timestamps))
    flow.put(STDOUT, b"read\nhalf a")
    found = drain(reader, passage)
    for _ in range(3):  # this reader holds nothing
        flow.put(STDOUT, b" line " + b"s" * MIN_TAKEN_BYTES * 2)
    flow.put(STDOUT, b"\nnext\n" + b"r" * MIN_TAKEN_BYTES)
    flow.put(STDOUT, b"\nlast\n")
    found += drain(reader, passage)
    reader.close()
    flow.close()
    shown_lines = [line[31:] if timestamps else line for line in joined(found).splitlines()]
    assert shown_lines[:2] == [b"read", b"half a"]
    assert shown_lines[-1] == b"last"
    assert set(shown_lines[2:-1]) <= {b"next", b"r" * MIN_TAKEN_BYTES}


def test_the_end_of_a_pipe_drops_nothing(tmp_path):
    writer = LogWriter(tmp_path, LogLimits(1, 1))
    reading, writing = os.pipe()
    os.write(writing, b"last words\n")
    os.close(writing)
    assert writer.take(reading, STDOUT) == 11
    assert writer.take(reading, STDOUT) == 0
    writer.close()
    os.close(reading)
    assert joined(read(tmp_path)) == b"last words\n"


def test_the_rest_of_a_line_whose_beginning_was_dropped_is_left_out_unless_it_has_no_end(log):
    long_line = b"w" * 10_000 + b"\nnext\n"
    assert joined(read(log([(STDOUT, long_line)], LogLimits(1, 1)))) == b"next\n"
    endless = b"v" * 60_000
    kept = joined(read(log([(STDOUT, endless)], LogLimits(40_000, 1))))
    assert kept
    assert kept == endless[40_000 + LONGEST_REST :]


def test_a_terminals_output_is_split_among_segments_too(tmp_path):
    writer = LogWriter(tmp_path, LogLimits(1, 2))
    for number in range(10):
        writer.append(b"%d %s\n" % (number, b"u" * 3000), 0)
    writer.close()
    assert len(segment_starts(tmp_path)) == 2
    assert joined(read(tmp_path)).endswith(b"9 " + b"u" * 3000 + b"\n")


def test_a_log_whose_limits_became_narrower_is_cut_when_it_is_written_next(log):
    directory = log([(STDOUT, b"t" * 20_000)], LogLimits(1, 4))
    assert len(segment_starts(directory)) == 4
    write(directory, [], LogLimits(1, 1))
    assert len(segment_starts(directory)) == 1


def test_times_grow_even_when_the_clock_does_not(log, monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 5)
    assert times_of(log([(STDOUT, b"1\n"), (STDERR, b"2\n"), (STDOUT, b"3\n")])) == [5, 6, 7]


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
    assert joined(read(tmp_path)) == b"kept\nlater\n"


def test_records_of_data_that_the_machine_lost_are_dropped(log):
    directory = log([(STDOUT, b"one\n"), (STDOUT, b"two\n"), (STDOUT, b"three\n")])
    os.truncate(directory / "log.data", 4)
    write(directory, [(STDOUT, b"four\n")])
    assert joined(read(directory)) == b"one\nfour\n"
    assert (directory / "log.index").stat().st_size == 3 * RECORD.size


@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "zeros", "garbage"])
@pytest.mark.parametrize("is_written_next", [True, False])
def test_a_lost_index_is_rebuilt_from_the_data(log, damage, is_written_next):
    lines = b"".join(b"%07d\n" % number for number in range(300_000))  # more than one chunk
    directory = log([(STDOUT, lines[at : at + 60_000]) for at in range(0, len(lines), 60_000)], LogLimits(2_000_000, 3))
    assert len(segment_starts(directory)) > 1
    indexes = sorted(directory.glob("*.index"))
    before = [path.stat().st_mode for path in indexes]
    for path in indexes:
        size = path.stat().st_size
        match damage:
            case "missing":
                path.unlink()
            case "empty" | "torn":
                os.truncate(path, 0 if damage == "empty" else RECORD.size - 1)
            case _:
                path.write_bytes((b"\0" if damage == "zeros" else b"x") * size)
    more = b"later\n" if is_written_next else b""
    if is_written_next:
        write(directory, [(STDERR, more)], LogLimits(2_000_000, 3))
    assert joined(read(directory)) == lines + more
    assert joined(read(directory, Selection(tail=3))) == (lines + more)[-22 if more else -24 :]
    assert joined(read(directory, Selection(since_ns=time.time_ns() + 10**9))) == b""
    assert [path.stat().st_mode for path in sorted(directory.glob("*.index"))] == before
    stamped = joined(read(directory, Selection(timestamps=True))).splitlines()
    assert len(stamped) == len((lines + more).splitlines())
    assert stamped == sorted(stamped)


def test_records_that_a_power_cut_left_as_zeros_are_dropped(log):
    directory = log([(STDOUT, b"one\n"), (STDOUT, b"two\n")])
    with open(directory / "log.index", "ab") as index:
        index.write(bytes(3 * RECORD.size))
    write(directory, [(STDOUT, b"three\n")])
    assert joined(read(directory)) == b"one\ntwo\nthree\n"
    assert (directory / "log.index").stat().st_size == 3 * RECORD.size


def test_a_line_that_an_earlier_process_left_without_end_is_not_gone_on_with(log):
    directory = log([(STDOUT, b"one\ntw")])
    again = Flow(directory, began_ns=time.time_ns())
    again.put(STDOUT, b"three\n")
    again.close()
    times = times_of(directory)
    assert joined(read(directory)) == b"one\ntwthree\n"
    assert joined(read(directory, Selection(since_ns=times[1]))) == b"three\n"
    assert joined(read(directory, Selection(tail=1))) == b"three\n"
    stamped = joined(read(directory, Selection(timestamps=True)))
    assert stamped == stamp(times[0]) + b"one\n" + stamp(times[0]) + b"tw\n" + stamp(times[1]) + b"three\n"


def test_times_are_written_as_docker_writes_them():
    assert stamp(1_700_000_000_000_000_042) == b"2023-11-14T22:13:20.000000042Z "


def open_files(directory):
    """The files of a log that this process has open."""
    links = (os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd"))
    return [
        target for link in links if os.path.lexists(link) and (target := os.readlink(link)).startswith(str(directory))
    ]


def test_a_log_that_nothing_is_written_to_has_no_file_open(tmp_path):
    flow = Flow(tmp_path)
    assert open_files(tmp_path) == []
    flow.put(STDOUT, b"one\n")
    assert len(open_files(tmp_path)) == 2
    flow.writer.close_if_idle()  # something came since the last time
    assert len(open_files(tmp_path)) == 2
    flow.writer.close_if_idle()
    assert open_files(tmp_path) == []
    flow.put(STDERR, b"two\n").put(STDOUT, b"three\n")
    flow.writer.append(b"four\n", STDOUT)
    flow.close()
    assert open_files(tmp_path) == []
    assert (tmp_path / "log.data").read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_a_log_that_was_idle_goes_on_in_the_segment_that_it_was_in(tmp_path):
    flow = Flow(tmp_path, SMALL)
    lines = [b"%d" % number * 1000 + b"\n" for number in range(1, 8)]
    for line in lines:
        flow.put(STDOUT, line)
        flow.writer.close_if_idle()
        flow.writer.close_if_idle()
    flow.close()
    starts = segment_starts(tmp_path)
    assert len(starts) > 1
    kept = b"".join((tmp_path / (f"log.{start}.data" if start else "log.data")).read_bytes() for start in starts)
    assert b"".join(lines).endswith(kept)


def test_output_without_room_reaches_waiting_readers_alone_and_in_its_place(tmp_path):
    readers = set()
    writer = LogWriter(tmp_path, readers=readers)
    writer.append(b"one\n", STDOUT)
    waiting, other = LogReader(tmp_path, is_awaited=True), LogReader(tmp_path)
    readers |= {waiting, other}
    writer.pass_on(b"two\nthr", STDOUT)
    writer.pass_on(b"ee\n", STDOUT)
    writer.append(b"four\n", STDERR)

    def everything(reader):
        found = []
        while chunks := reader.chunks():
            found += [(chunk.stream, chunk.continues, reader.read(chunk.start, chunk.end)) for chunk in chunks]
            reader.position = chunks[-1].end
        return found

    assert everything(waiting) == [
        (STDOUT, False, b"one\n"),
        (STDOUT, False, b"two\nthr"),
        (STDOUT, True, b"ee\n"),
        (STDERR, False, b"four\n"),
    ]
    assert everything(other) == [(STDOUT, False, b"one\n"), (STDERR, False, b"four\n")]
    for reader in (waiting, other):
        reader.close()
    writer.close()
    again = LogWriter(tmp_path)
    again.append(b"five\n", STDOUT)
    again.close()
    late = LogReader(tmp_path)
    assert b"".join(data for _, _, data in everything(late)) == b"one\nfour\nfive\n"
    late.close()
