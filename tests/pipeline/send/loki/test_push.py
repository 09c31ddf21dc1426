"""How requests are taken apart, against a stand-in that answers as it is told."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pipeline.delivery import Delivered, Outcome, Partly, Rejected, Retry, TooLarge
from pipeline.send.codec import LOGS
from pipeline.send.loki.classify import classify
from pipeline.send.loki.parcel import unpack
from pipeline.send.loki.push import Answer, Push
from pipeline.send.loki.streams import BURST_BYTES, KNOWN_S, RATE_BYTES, KnownStreams
from pipeline.send.request import Piece, Request
from pipeline.wire import snappy
from pipeline.wire.errors import MalformedError
from pipeline.wire.loki import decode
from tests.pipeline.send.loki.pushes import piece, stream

Content = dict[str, list[str]]
"""Lines by labels."""


def content(payload: bytes) -> Content:
    out: Content = {}
    for found in decode(snappy.decompress(payload)):
        out.setdefault(found.labels, []).extend(entry.line.decode() for entry in found.entries)
    return out


@dataclass
class Receiver:
    judge: Callable[[Content], Answer] = lambda _: Answer(Delivered())
    known: KnownStreams = field(default_factory=KnownStreams)
    pushes: list[Content] = field(default_factory=list)

    async def post(self, payload: bytes, tenant: str) -> Answer:
        self.pushes.append(content(payload))
        return self.judge(self.pushes[-1])

    async def send(self, *pieces: Piece, late: bool = False, now_s: float = 0.0, max_bytes: int = 1 << 20) -> Outcome:
        self.pushes.clear()
        request = Request(pieces, LOGS)
        push = Push(unpack(request), request.payload, "t", self.post, self.known, now_s, asks=False)
        return await push.run({one.source for one in pieces} if late else set(), max_bytes)


def lines(app: str, *names: str) -> bytes:
    return stream(app, [(n, name) for n, name in enumerate(names)])


A, B = '{app="a"}', '{app="b"}'


async def test_a_stream_goes_by_itself_until_it_was_taken_and_again_when_it_was_silent() -> None:
    receiver = Receiver()
    request = piece(lines("a", "1"), lines("b", "2"))
    assert await receiver.send(request) == Delivered()
    assert sorted(map(list, receiver.pushes)) == [[A], [B]]
    await receiver.send(request, now_s=1.0)
    assert receiver.pushes == [{A: ["1"], B: ["2"]}]
    await receiver.send(request, now_s=KNOWN_S + 2)
    assert len(receiver.pushes) == 2


async def test_what_is_late_goes_stream_by_stream_each_as_a_whole_and_in_order() -> None:
    receiver = Receiver()
    pieces = [piece(lines("a", "1", "2"), lines("b", "x")), piece(lines("a", "3"), source=1)]
    await receiver.send(*pieces)
    await receiver.send(*pieces)
    assert receiver.pushes == [{A: ["1", "2", "3"], B: ["x"]}]
    await receiver.send(*pieces, late=True)
    assert sorted(receiver.pushes, key=str) == [{A: ["1", "2", "3"]}, {B: ["x"]}]


def test_a_stream_that_gets_much_goes_by_itself_until_that_is_worked_off() -> None:
    known = KnownStreams()
    key = ("t", b"a")
    known.took(key, 0, 0.0)
    assert known.joins(key, BURST_BYTES, 0.0)
    assert not known.joins(key, 1, 0.0)
    assert not known.joins(key, RATE_BYTES, 1.0)
    assert known.joins(key, 10, 3.0)


async def test_an_answer_that_nobody_understands_costs_no_other_entry() -> None:
    def judge(pushed: Content) -> Answer:
        bad = any("bad" in found for found in pushed.values())
        return Answer(Rejected("HTTP 400: no", 400), "no") if bad else Answer(Delivered())

    receiver = Receiver(judge)
    request = piece(lines("a", "1", "bad", "2", "3"), lines("b", "4"))
    for now_s in (0.0, 1.0):
        outcome = await receiver.send(request, now_s=now_s)
        assert isinstance(outcome, Partly)
        [refused] = outcome.refused
        assert (content(refused.payload), refused.items) == ({A: ["bad"]}, 1)
        assert (refused.reason, refused.status) == ("HTTP 400: no", 400)
        assert outcome.left == ()


async def test_a_loki_that_is_down_is_asked_once_and_everything_is_left() -> None:
    receiver = Receiver(lambda _: Answer(Retry("down")))
    streams = [lines(f"s{n}", "x") for n in range(100)]
    assert await receiver.send(piece(*streams)) == Retry("down")
    assert len(receiver.pushes) <= 8


async def test_what_was_not_taken_when_it_went_down_is_left_and_belongs_to_its_record() -> None:
    receiver = Receiver(
        lambda pushed: Answer(Retry("down", perhaps_taken=True)) if B in pushed else Answer(Delivered())
    )
    outcome = await receiver.send(piece(lines("a", "1")), piece(lines("b", "2", "3"), source=1))
    assert isinstance(outcome, Partly)
    assert outcome.retry == Retry("down", perhaps_taken=True)
    assert [(part.source, content(part.payload), part.items) for part in outcome.left] == [(1, {B: ["2", "3"]}, 2)]


async def test_what_is_too_large_is_halved_until_it_fits() -> None:
    def judge(pushed: Content) -> Answer:
        entries = [line for found in pushed.values() for line in found]
        return Answer(TooLarge("HTTP 413")) if len(entries) > 2 or "huge" in entries else Answer(Delivered())

    receiver = Receiver(judge)
    request = piece(lines("a", "1", "2", "3", "huge", "5"), lines("b", "6"), lines("c", "7"))
    for now_s in (0.0, 1.0):
        outcome = await receiver.send(request, now_s=now_s)
        assert isinstance(outcome, Partly)
        assert [(content(part.payload), part.status) for part in outcome.refused] == [({A: ["huge"]}, 413)]


async def test_pushes_are_bounded() -> None:
    receiver = Receiver()
    request = piece(*(lines(f"s{n}", "x" * 100, "y" * 100) for n in range(20)))
    await receiver.send(request)
    await receiver.send(request, max_bytes=1000)
    assert len(receiver.pushes) > 4
    assert sum(map(len, receiver.pushes)) == 20
    await receiver.send(piece(lines("long", *("x" * 300 for _ in range(10)))), max_bytes=1000)
    assert [len(found['{app="long"}']) for found in receiver.pushes] == [3, 3, 3, 1]


async def test_what_is_no_request_is_malformed() -> None:
    for raw in (b"\x12\x00", b"\x0a\x05\x0a", b"\x0a\x02\x12\x00"):
        with pytest.raises(MalformedError):
            await Receiver().send(Piece(snappy.compress(raw), 1))


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (204, b"", Delivered()),
        (260, b"ingestion blocked", Retry("HTTP 260: ingestion blocked", alarm=True, perhaps_taken=True)),
        (429, b"slow", Retry("HTTP 429: slow", 3.0)),
        (503, b"", Retry("HTTP 503", 3.0)),
        (500, b"", Retry("HTTP 500", 3.0, perhaps_taken=True)),
        (401, b"no org id", Retry("HTTP 401: no org id", 3.0, alarm=True)),
        (404, b"", Retry("HTTP 404", 3.0, alarm=True)),
        (400, b"bad", Rejected("HTTP 400: bad", 400)),
        (
            500,
            b"rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5 vs. 4)",
            TooLarge(
                "HTTP 500: rpc error: code = ResourceExhausted desc = grpc: received message larger than max (5 vs. 4)"
            ),
        ),
    ],
)
def test_answers_mean_what_loki_means(status: int, body: bytes, outcome: Outcome) -> None:
    assert classify(status, {"Retry-After": "3"}, body, now_s=0.0) == outcome
