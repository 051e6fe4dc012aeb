"""A container's output on disk: every byte once, whatever happens to the engine.

A log is a row of segments, each a data file and an index beside it. The data hold the bytes of all streams as they came;
the index holds one record a chunk: time, stream and the offset at which the chunk begins, counted from the beginning of
the log, so that an offset means the same wherever segments end. A chunk ends where the next one begins, or with the
data. A log without limits is one segment; with limits (`max-size`, `max-file`) a full one is followed by a new one, and
the oldest is dropped. The segment of the writer is the one that begins last.
"""
