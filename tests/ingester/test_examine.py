from dataclasses import replace

import pytest

from ingester.config import SinkConfig
from ingester.examine import Doubt, Examiner
from ingester.progress import Progress
from ingester.settle import Settled
from ingester.stream import Entry, Stream, next_request, ranges
from pipeline.log.interface import Record
from pipeline.wire.envelope import Envelope, UnknownVersionError, to_headers
from tests.ingester.parts import METRICS, Lane

CONFIG = SinkConfig.model_validate({"name": "s", "store": {}, "tenant": "{cluster}"})


def record(offset: int, batch: tuple[Envelope, bytes]) -> Record:
    return Record(METRICS, offset, 1_790_000_000_000 + offset, None, to_headers(batch[0]), batch[1])


def examiner(**progress: object) -> Examiner:
    return Examiner(CONFIG, replace(Progress(0, Settled(from_zero=True)), **progress))  # type: ignore[arg-type]


def walk(judge: Examiner, *batches: tuple[Envelope, bytes]) -> list[Entry]:
    out = []
    for offset, batch in enumerate(batches):
        out.append(judge.examine(record(offset, batch)))
        judge.admit(out[-1])
    return out


def test_a_fresh_record_is_to_be_sent() -> None:
    [entry] = walk(examiner(), Lane().round(0))
    assert (entry.items, entry.counts.received, entry.cluster, entry.tenant, entry.poison) == (10, 10, "c1", "c1", "")


def test_a_record_examined_twice_is_judged_the_same_until_it_is_admitted() -> None:
    judge, first = examiner(), record(0, Lane().round(0))
    assert judge.examine(first).items == judge.examine(first).items == 10
    judge.admit(judge.examine(first))
    assert judge.examine(first).items == 0


def test_a_record_of_a_newer_version_is_neither_sent_nor_skipped() -> None:
    envelope, payload = Lane().round(0)
    headers = (("pronoia", b"9"), *to_headers(envelope)[1:])
    with pytest.raises(UnknownVersionError):
        examiner().examine(Record(METRICS, 0, 0, None, headers, payload))


def test_what_was_settled_ahead_of_the_commit_is_not_sent_again() -> None:
    lane = Lane()
    entries = walk(examiner(ahead=[(1, 3, 0), (4, 5, 7)]), *(lane.round(n) for n in range(6)))
    assert [entry.items for entry in entries] == [10, 0, 0, 10, 0, 10]
    assert [entry.counts.received for entry in entries] == [10] * 6
    assert entries[4].counts.rejected == 7


def test_in_doubt_is_what_the_window_let_pass_and_nothing_more() -> None:
    lane = Lane()
    entries = walk(
        Examiner(CONFIG.model_copy(update={"window": 35}), Progress(0, Settled(True))),
        *(lane.round(n) for n in range(6)),
    )
    assert [entry.doubt for entry in entries] == [True, True, True, False, False, False]


def test_nothing_is_in_doubt_after_a_clean_end() -> None:
    assert not walk(examiner(clean=True), Lane().round(0))[0].doubt


def test_a_larger_window_of_the_last_owner_counts() -> None:
    judge = Examiner(CONFIG.model_copy(update={"window": 1}), Progress(0, Settled(True), window=25))
    lane = Lane()
    assert [entry.doubt for entry in walk(judge, *(lane.round(n) for n in range(4)))] == [True, True, False, False]


def test_one_record_is_in_doubt_however_large_it_is() -> None:
    doubt = Doubt(5)
    assert [doubt.covers(("c", "t"), items) for items in (100, 1)] == [True, False]


def test_tenants_have_windows_of_their_own_where_one_was_in_trouble() -> None:
    doubt = Doubt(25, per_stream=True)
    seen = [(stream, doubt.covers((stream, ""), 10)) for stream in ("a", "a", "a", "b", "b", "b")]
    assert seen == [("a", True), ("a", True), ("a", False), ("b", True), ("b", True), ("b", False)]


def test_replaying_headers_brings_lanes_and_ledger_to_the_commit() -> None:
    lane = Lane()
    batches = [lane.round(n) for n in range(4)]
    progress = Progress(0, Settled(from_zero=True))
    judge = Examiner(CONFIG, progress)
    for offset, batch in enumerate((batches[0], batches[2], batches[2])):
        judge.replay(record(offset, batch), progress)
    assert progress.offset == 3
    counts = progress.ledger["c1"]
    assert (counts.received, counts.delivered, counts.missing, counts.duplicated) == (20, 20, 10, 10)
    assert judge.examine(record(3, batches[3])).counts.missing == 0


def stream_of(*entries: Entry) -> Stream:
    stream = Stream("c1", "")
    stream.waiting.extend(entries)
    stream.items = sum(entry.items for entry in entries)
    return stream


def taken(stream: Stream, max_items: int, *, late_first: bool = True) -> list[Entry]:
    return next_request(stream, max_items, 1 << 20, late_first=late_first)


def test_a_request_takes_records_in_order_up_to_its_items_and_one_at_least() -> None:
    lane = Lane()
    stream = stream_of(*walk(examiner(), *(lane.round(n, items) for n, items in enumerate((10, 10, 10, 99)))))
    assert [[e.items for e in taken(stream, 25)] for _ in range(3)] == [
        [10, 10],
        [10],
        [99],
    ]
    assert (stream.items, len(stream.waiting)) == (0, 0)


def test_what_comes_late_begins_a_request() -> None:
    lane = Lane()
    b = [lane.round(n) for n in range(4)]
    stream = stream_of(*walk(examiner(), b[0], b[2], b[1], b[3]))
    assert [[e.offset for e in taken(stream, 1000)] for _ in range(2)] == [
        [0, 1],
        [2, 3],
    ]


def test_where_the_store_does_not_mind_what_comes_late_is_joined() -> None:
    lane = Lane()
    b = [lane.round(n) for n in range(4)]
    stream = stream_of(*walk(examiner(), b[0], b[2], b[1], b[3]))
    assert [e.offset for e in taken(stream, 1000, late_first=False)] == [0, 1, 2, 3]


def test_another_lanes_backlog_begins_a_request() -> None:
    new, old = Lane(), Lane(epoch=7)
    stream = stream_of(*walk(examiner(), new.round(100), new.round(101), old.round(1), old.round(2), new.round(102)))
    assert [[e.offset for e in taken(stream, 1000)] for _ in range(2)] == [
        [0, 1],
        [2, 3, 4],
    ]


def test_ranges_of_what_is_done_keep_what_was_rejected_apart() -> None:
    entries = [Entry(offset, 0, None, done=offset not in (3, 7)) for offset in range(9)]
    entries[5].counts.rejected = 4
    assert ranges(entries) == [(0, 3, 0), (4, 5, 0), (5, 6, 4), (6, 7, 0), (8, 9, 0)]
