#!/bin/sh
# zstandard 0.25.0 (python-zstandard, the C backend), seen 2026-11-29.
#
# What happens: a zstd stream may have several frames, and skippable ones between, before or behind them (RFC 8878,
# section 3.1.2); parallel compressors and the writers of zstd:chunked image layers make such streams. Which frames are read
# depends on the call, on a stream that begins with a skippable frame:
# - `decompressobj().decompress` and `read_to_iter` return nothing, without an error, and the first says `eof`: a layer that
#   is read so is an empty one;
# - `decompress` raises, also with `max_output_size`;
# - `decompressobj(read_across_frames=True)` returns everything and never says `eof`, so that a whole stream can't be
#   distinguished from one that is cut off;
# - `stream_reader` and `copy_stream` return everything, the first also with `read_across_frames=False`, its default, which
#   by its documentation stops at the end of a frame.
# Python 3.14's own compression.zstd (here its backport, 1.8.0) reads everything.
#
# What it means for us: runtime/image/compression.py goes on after each frame by itself, over libzstd, and asks at the end
# whether a frame was left open; a library in its place is taken only after the tests with such layers pass.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q zstandard==0.25.0 backports.zstd==1.8.0

cat >"$work/see.py" <<'PYTHON'
import io
import struct
import sys

import zstandard
from backports import zstd

DATA = struct.pack("<II", 0x184D2A50, 4) + b"skip" + zstandard.compress(b"a" * 1000) + zstandard.compress(b"b" * 1000)
decompressor = zstandard.ZstdDecompressor


def whole():
    try:
        return len(decompressor().decompress(DATA, max_output_size=5000))
    except zstandard.ZstdError:
        return "an error"


def of_object(**options):
    one = decompressor().decompressobj(**options)
    return len(one.decompress(DATA)), one.eof


def copied():
    out = io.BytesIO()
    decompressor().copy_stream(io.BytesIO(DATA), out)
    return len(out.getvalue())


seen = {
    "decompress": whole(),
    "decompressobj, and eof": of_object(),
    "decompressobj across frames, and eof": of_object(read_across_frames=True),
    "read_to_iter": len(b"".join(decompressor().read_to_iter(io.BytesIO(DATA)))),
    "stream_reader": len(decompressor().stream_reader(io.BytesIO(DATA), read_across_frames=False).read()),
    "copy_stream": copied(),
    "compression.zstd": len(zstd.decompress(DATA)),
}
for call, bytes_ in seen.items():
    print(f"{call:38} {bytes_}")
expected = ["an error", (0, True), (2000, False), 0, 2000, 2000, 2000]
sys.exit(0 if list(seen.values()) == expected else "this has changed")
PYTHON
"$work/venv/bin/python" "$work/see.py"
