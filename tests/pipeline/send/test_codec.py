import pytest

from pipeline.send.codec import CODECS, LOGS
from pipeline.send.request import Piece, Request
from pipeline.wire import snappy
from pipeline.wire.envelope import Signal
from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import Entry, Stream, decode, encode_entry, encode_labels, encode_stream


def payload(*streams: tuple[str, int, int]) -> bytes:
    """Each stream: its label, its first entry's number, and how many entries."""
    return snappy.compress(
        b"".join(
            encode_stream(
                encode_labels([("app", app)]), b"".join(encode_entry(n, b"%d" % n) for n in range(first, first + count))
            )
            for app, first, count in streams
        )
    )


def content(payload: bytes) -> list[tuple[str, list[int]]]:
    return [
        (stream.labels, [entry.time_ns for entry in stream.entries]) for stream in decode(snappy.decompress(payload))
    ]


def test_logs_are_joined_unread() -> None:
    both = Request([Piece(payload(("a", 0, 2)), 2), Piece(payload(("b", 0, 1), ("a", 2, 1)), 2)], LOGS)
    assert content(both.payload) == [('{app="a"}', [0, 1]), ('{app="b"}', [0]), ('{app="a"}', [2])]
    assert both.items == 4
    assert LOGS.count(both.payload) == 4


def test_halves_keep_a_streams_entries_together_and_in_order() -> None:
    halves = LOGS.halves(payload(("a", 0, 2), ("b", 0, 1), ("a", 2, 1)))
    assert halves is not None
    assert [(content(part.payload), part.items) for part in halves] == [
        ([('{app="a"}', [0, 1]), ('{app="a"}', [2])], 3),
        ([('{app="b"}', [0])], 1),
    ]
    assert LOGS.halves(halves[0].payload) is None


def test_one_stream_is_split_into_earlier_and_later_entries_with_all_that_they_have() -> None:
    entries = encode_entry(1, b"x", [("trace", "1")]) + encode_entry(2, b"y") + encode_entry(3, b"z", [("trace", "3")])
    halves = LOGS.item_halves(snappy.compress(encode_stream(b'{app="a"}', entries)))
    assert halves is not None
    first, second = ([*decode(snappy.decompress(part.payload))] for part in halves)
    assert first == [Stream('{app="a"}', [Entry(1, b"x", (("trace", "1"),))])]
    assert second == [Stream('{app="a"}', [Entry(2, b"y"), Entry(3, b"z", (("trace", "3"),))])]
    assert [part.items for part in halves] == [1, 2]
    assert LOGS.item_halves(halves[0].payload) is None


@pytest.mark.parametrize("signal", [Signal.METRICS, Signal.LOGS])
def test_what_cannot_be_read_cannot_be_split(signal: Signal) -> None:
    codec = CODECS[signal]
    for split in (codec.halves, codec.item_halves, codec.count):
        with pytest.raises(MalformedError):
            split(b"\x05garbage")
