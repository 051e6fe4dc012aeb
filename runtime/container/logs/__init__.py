"""A container's log on disk: each byte of output exactly once, even if the engine crashes.

A log is a sequence of segments, each with a data and an index file. The number in the name is the offset, in the whole
log, of the segment's first byte (none for 0):

    log.data           log.1048576.data        bytes of all streams, in order of arrival
    log.index          log.1048576.index       records of 24 bytes, one for each chunk of data, little endian:

        0        8        16       24
        ├────────┼────────┼────────┤
        │ time   │ stream │ offset │
        └────────┴────────┴────────┘
        time    nanoseconds since 1970, increasing strictly: a time identifies a position in the log
        stream  bits 0 to 7: 0 terminal, 1 stdout, 2 stderr (as the attach protocol); from bit 8 on, one bit for each
                stream that was in the middle of a line when the chunk began
        offset  of the chunk's first byte, in the whole log; the chunk ends where the next begins, or with the data

A log without limits has one segment. With limits (`max-size`, `max-file`) a full segment is followed by a new one, and
the oldest is deleted. The writer appends to the last segment.
"""
