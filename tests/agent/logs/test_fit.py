"""What is too long for one record of the buffer is cut: by streams, then by entries, each stream's in its order."""

import random

from agent.logs.buffer import LogBatch
from agent.logs.fit import fitting
from pipeline.wire import snappy
from pipeline.wire.loki import decode, encode_entry, encode_stream

LONG = bytes(random.Random(1).choices(range(32, 127), k=8_000))


def batch(*streams: tuple[bytes, list[bytes]]) -> LogBatch:
    raw = b"".join(
        encode_stream(labels, b"".join(encode_entry(number, line) for number, line in enumerate(lines)))
        for labels, lines in streams
    )
    return LogBatch(snappy.compress(raw), sum(len(lines) for _, lines in streams), len(raw), 0, 0)


def found(parts: list[LogBatch]) -> list[tuple[str, bytes]]:
    return [
        (stream.labels, entry.line)
        for part in parts
        for stream in decode(snappy.decompress(part.payload))
        for entry in stream.entries
    ]


def test_what_fits_stays_as_it_is() -> None:
    whole = batch((b'{a="x"}', [b"1", b"2"]))
    assert fitting(whole, len(whole.payload)) == [whole]


def test_parts_hold_everything_in_each_streams_order() -> None:
    parts = fitting(batch((b'{a="x"}', [b"1", LONG, b"2"]), (b'{a="y"}', [LONG, b"3"])), len(LONG) + 100)
    assert len(parts) > 1
    assert all(len(part.payload) <= len(LONG) + 100 for part in parts)
    assert [line for labels, line in found(parts) if labels == '{a="x"}'] == [b"1", LONG, b"2"]
    assert [line for labels, line in found(parts) if labels == '{a="y"}'] == [LONG, b"3"]
    assert sum(part.items for part in parts) == 5


def test_an_entry_that_is_too_long_by_itself_is_left_out_and_missing_from_the_count() -> None:
    parts = fitting(batch((b'{a="x"}', [b"1", LONG, b"2"])), 500)
    assert found(parts) == [('{a="x"}', b"1"), ('{a="x"}', b"2")]
    assert sum(part.items for part in parts) == 2
