import struct
from collections.abc import Callable

import pytest

from pipeline.delivery import Delivered, Outcome, PartLeft, Partly, PartRefused, Rejected, Retry, TooLarge
from pipeline.send.codec import METRICS
from pipeline.send.deliver import Delivery, Limits
from pipeline.send.request import Piece, Request
from pipeline.wire import snappy
from pipeline.wire.remote_write import decode, encode_labels, encode_metadata, encode_sample, encode_series

Sample = tuple[str, int]
"""(series, timestamp)"""


def piece(*samples: Sample, source: int = 0, in_doubt: bool = False) -> Piece:
    content = b"".join(
        encode_series(encode_labels((("__name__", name),)) + encode_sample(struct.pack("<d", at), at))
        for name, at in samples
    )
    return Piece(snappy.compress(content), len(samples), source, in_doubt)


def metrics(*pieces: Piece) -> Request:
    return Request(pieces, METRICS)


def samples_in(payload: bytes) -> list[Sample]:
    return [(s.labels[0][1], at) for s in decode(snappy.decompress(payload)) for _, at in s.samples]


class Store:
    """Takes a request whole or not at all, as remote write 1.0 at Prometheus does."""

    def __init__(self, judge: Callable[[list[Sample]], Outcome | None] = lambda _: None) -> None:
        self.judge = judge
        self.taken: list[Sample] = []
        self.requests = 0
        self.refused: list[tuple[Sample, str]] = []
        self.slept: list[float] = []

    async def send(self, request: Request) -> Outcome:
        self.requests += 1
        samples = samples_in(request.payload)
        assert request.items == len(samples)
        outcome = self.judge(samples) or Delivered()
        if isinstance(outcome, Delivered):
            self.taken += samples
        return outcome

    async def refuse(self, piece: Piece, refusal: Rejected) -> None:
        assert METRICS.count(piece.payload) == piece.items
        self.refused += [(sample, refusal.reason) for sample in samples_in(piece.payload)]

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)

    def delivery(self, limits: Limits | None = None) -> Delivery:
        return Delivery(self.send, self.refuse, limits or Limits(), sleep=self.sleep)


def refusing(*bad: Sample, duplicate: bool = False) -> Callable[[list[Sample]], Outcome | None]:
    return lambda samples: Rejected("bad", 400, duplicate) if set(samples) & set(bad) else None


async def test_what_is_taken_costs_one_request() -> None:
    store = Store()
    tally = await store.delivery().run(metrics(piece(("a", 1)), piece(("a", 2), ("b", 2))))
    assert (tally.delivered, store.requests, store.taken) == (3, 1, [("a", 1), ("a", 2), ("b", 2)])


@pytest.mark.parametrize(("perhaps_taken", "already", "refused"), [(True, 2, 1), (False, 0, 3)])
async def test_a_refusal_as_duplicate_after_a_lost_answer_means_delivered(
    perhaps_taken: bool, already: int, refused: int
) -> None:
    answers: list[Outcome] = [Retry("cut", perhaps_taken=perhaps_taken)]

    def judge(samples: list[Sample]) -> Outcome | None:
        if answers:
            return answers.pop(0)
        if ("c", 1) in samples:
            return Rejected("bad label", 400)
        return Rejected("out of order sample", 400, duplicate=True) if ("a", 1) in samples else None

    store = Store(judge)
    tally = await store.delivery().run(metrics(piece(("a", 1)), piece(("a", 1), ("b", 1), ("c", 1))))
    assert (tally.already, tally.refused, tally.delivered) == (already, refused, 1)


async def test_a_store_in_trouble_gets_the_same_again_after_the_delay_it_asked_for() -> None:
    answers: list[Outcome] = [Retry("later", 7.0), Retry("down")]
    store = Store(lambda _: answers.pop(0) if answers else None)
    tally = await store.delivery().run(metrics(piece(("a", 1))))
    assert tally.delivered == 1
    assert store.slept[0] >= 7.0
    assert len(store.slept) == 2


async def test_one_refused_series_among_thousands_is_found_and_the_rest_delivered() -> None:
    samples = [(f"s{n:04d}", 1) for n in range(2000)]
    store = Store(refusing(("s1234", 1)))
    tally = await store.delivery().run(metrics(piece(*samples), piece(*((name, 2) for name, _ in samples), source=1)))
    assert (tally.delivered, tally.refused) == (3999, 1)
    assert store.refused == [(("s1234", 1), "bad")]
    assert sorted(store.taken) == sorted({*samples, *((name, 2) for name, _ in samples)} - {("s1234", 1)})
    assert store.requests < 30


async def test_samples_of_a_series_stay_in_order_while_it_is_narrowed() -> None:
    store = Store(refusing(("a", 3)))
    await store.delivery().run(metrics(piece(*(("a", n) for n in range(8)), *(("b", n) for n in range(8)))))
    assert [at for name, at in store.taken if name == "a"] == [0, 1, 2, 4, 5, 6, 7]
    assert [at for name, at in store.taken if name == "b"] == list(range(8))
    assert store.refused == [(("a", 3), "bad")]


async def test_records_stay_in_order_while_the_first_is_narrowed() -> None:
    store = Store(refusing(("a", 1)))
    await store.delivery().run(metrics(*(piece(("a", n), ("b", n), source=n) for n in range(5))))
    assert [at for name, at in store.taken if name == "b"] == list(range(5))
    assert [at for name, at in store.taken if name == "a"] == [0, 2, 3, 4]


async def test_a_record_of_which_nothing_is_taken_is_given_up_soon() -> None:
    store = Store(lambda _: Rejected("bad", 400))
    tally = await store.delivery().run(metrics(piece(*((f"s{n}", 1) for n in range(2000)))))
    assert (tally.refused, tally.delivered) == (2000, 0)
    assert len(store.refused) == 2000
    assert store.requests <= 40


async def test_requests_are_bounded_where_many_series_are_refused() -> None:
    bad = {(f"s{n:04d}", 1) for n in range(0, 2000, 3)}
    store = Store(refusing(*bad))
    tally = await store.delivery(Limits(max_requests=100)).run(metrics(piece(*((f"s{n:04d}", 1) for n in range(2000)))))
    assert tally.delivered + tally.refused == 2000
    assert bad <= {sample for sample, _ in store.refused}
    assert store.requests <= 110


async def test_a_request_that_is_too_large_is_split_until_it_fits() -> None:
    store = Store(lambda samples: TooLarge("HTTP 413") if len(samples) > 3 else None)
    tally = await store.delivery().run(
        metrics(*(piece(*((f"s{n}", r) for n in range(20)), source=r) for r in range(3)))
    )
    assert tally.delivered == 60
    assert not store.refused


async def test_a_single_sample_that_is_too_large_is_refused() -> None:
    store = Store(lambda samples: TooLarge("HTTP 413") if ("big", 1) in samples else None)
    await store.delivery().run(metrics(piece(("a", 1), ("big", 1), ("b", 1))))
    assert store.refused == [(("big", 1), "HTTP 413")]
    assert sorted(store.taken) == [("a", 1), ("b", 1)]


async def test_in_doubt_and_refused_as_duplicate_counts_as_done() -> None:
    store = Store(refusing(("a", 1), ("b", 1), duplicate=True))
    tally = await store.delivery().run(
        metrics(piece(("a", 1), ("b", 1), in_doubt=True), piece(("a", 2), ("b", 2), source=1))
    )
    assert (tally.already, tally.delivered, tally.refused) == (2, 2, 0)


async def test_in_doubt_and_refused_for_another_reason_is_refused() -> None:
    store = Store(refusing(("a", 1)))
    tally = await store.delivery().run(metrics(piece(("a", 1), in_doubt=True)))
    assert (tally.already, tally.refused) == (0, 1)


async def test_a_duplicate_outside_the_doubt_window_is_refused() -> None:
    store = Store(refusing(("a", 1), duplicate=True))
    tally = await store.delivery().run(metrics(piece(("a", 1))))
    assert (tally.already, tally.refused) == (0, 1)


async def test_a_payload_that_nobody_can_read_is_refused_whole() -> None:
    refused: list[tuple[int, bytes]] = []

    async def send(request: Request) -> Outcome:
        return Rejected("snappy: corrupt input", 400)

    async def refuse(piece: Piece, refusal: Rejected) -> None:
        refused.append((piece.items, piece.payload))

    await Delivery(send, refuse).run(metrics(Piece(b"\x05garbage", 7)))
    assert refused == [(7, b"\x05garbage")]


async def test_what_refuses_and_is_no_series_is_told_apart_from_the_samples() -> None:
    metadata = encode_metadata(1, "a", "help", "")
    content = metadata + snappy.decompress(piece(("a", 1)).payload)
    seen: list[bytes] = []

    async def send(request: Request) -> Outcome:
        seen.append(snappy.decompress(request.payload))
        return Rejected("no metadata", 400) if metadata in seen[-1] else Delivered()

    refused: list[Piece] = []

    async def refuse(piece: Piece, refusal: Rejected) -> None:
        refused.append(piece)

    tally = await Delivery(send, refuse).run(metrics(Piece(snappy.compress(content), 1)))
    assert (tally.delivered, tally.refused) == (1, 0)
    assert [snappy.decompress(part.payload) for part in refused] == [metadata]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
async def test_every_item_is_accounted_for_whatever_is_refused(count: int) -> None:
    samples = [(f"s{n}", at) for at in range(3) for n in range(17)]
    store = Store(refusing(*samples[:: 50 // count]))
    tally = await store.delivery().run(metrics(piece(*samples)))
    assert tally.delivered + tally.refused == len(samples)
    assert sorted(store.taken + [sample for sample, _ in store.refused]) == sorted(samples)


async def test_what_a_store_says_that_it_refuses_is_given_up_and_the_rest_is_delivered() -> None:
    bad, old = piece(("b", 1)), piece(("a", 2))
    parts = (
        PartRefused(0, bad.payload, 1, "too long", 400),
        PartRefused(1, old.payload, 1, "there already", 409, duplicate=True),
    )
    store = Store(lambda _: Partly(parts))
    request = metrics(piece(("a", 1), ("b", 1)), piece(("a", 2), ("b", 2), source=1, in_doubt=True))
    tally = await store.delivery().run(request)
    assert (tally.delivered, tally.already, tally.refused) == (2, 1, 1)
    assert store.refused == [(("b", 1), "too long")]
    assert store.requests == 1


async def test_a_store_may_say_of_a_part_what_it_refuses_of_it() -> None:
    def judge(samples: list[Sample]) -> Outcome | None:
        if len(samples) > 2:
            return TooLarge("HTTP 413")
        return Partly((PartRefused(7, piece(("b", 1)).payload, 1, "bad", 400),)) if ("b", 1) in samples else None

    store = Store(judge)
    tally = await store.delivery().run(metrics(piece(("a", 1), ("b", 1), ("c", 1), source=7)))
    assert (tally.delivered, tally.refused) == (2, 1)
    assert store.refused == [(("b", 1), "bad")]


async def test_what_a_store_leaves_is_sent_again_alone_and_the_rest_is_delivered() -> None:
    left = piece(("b", 1), ("c", 1))
    answers: list[Outcome] = [
        Partly(
            refused=(PartRefused(0, piece(("d", 1)).payload, 1, "bad", 400),),
            left=(PartLeft(0, left.payload, 2),),
            retry=Retry("slow down", 3.0, perhaps_taken=True),
        )
    ]
    seen: list[tuple[list[Sample], bool]] = []
    store = Store()

    async def send(request: Request) -> Outcome:
        seen.append((samples_in(request.payload), request.pieces[0].in_doubt))
        return answers.pop() if answers else Delivered()

    delivery = Delivery(send, store.refuse, sleep=store.sleep)
    tally = await delivery.run(metrics(piece(("a", 1), ("b", 1), ("c", 1), ("d", 1))))
    assert (tally.delivered, tally.refused) == (3, 1)
    assert seen[1:] == [([("b", 1), ("c", 1)], True)]
    assert store.slept[0] >= 3.0
    assert store.refused == [(("d", 1), "bad")]
