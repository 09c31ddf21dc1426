from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ingester.ledger import Counts
from ingester.progress import Progress, ProgressLog, decode, encode, key_of, pick
from ingester.settle import Settled
from pipeline.log.interface import Partition, TopicSpec
from pipeline.log.sqlite import SqliteLog
from pipeline.telemetry import LogMetrics
from pipeline.wire.errors import MalformedError
from tests.ingester.parts import METRICS, Lane


def progress(lanes: int = 3) -> Progress:
    settled = Settled(from_zero=True)
    for n in range(lanes):
        settled.apply(
            settled.judge(Lane(agent=f"agent-{n * 7919}", epoch=n * 0x9E3779B97F4A7C15 % 2**64).round(0)[0], n)
        )
    return Progress(
        7,
        settled,
        {"c1": Counts(received=5, delivered=5)},
        window=10,
        head_ms=9,
        rates={"c1": 1.5},
        ahead=[(8, 9, 0)],
        parked=True,
    )


def test_progress_survives_the_topic() -> None:
    assert decode(encode(progress())) == progress()


@pytest.mark.parametrize("payload", [b"", b"x", encode(progress())[:-5]])
def test_what_is_no_progress_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedError):
        decode(payload)


def test_progress_that_cannot_be_read_is_as_good_as_none(caplog: pytest.LogCaptureFixture) -> None:
    assert pick({key_of("g", METRICS): b"x"}, "g", [METRICS]) == {}
    assert "cannot be read" in caplog.text


async def test_the_oldest_lanes_are_forgotten_where_a_record_cannot_hold_all(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path, LogMetrics(CollectorRegistry()), max_record_bytes=20_000)
    await log.start()
    await log.ensure_topic(TopicSpec("settled", 1, compacted=True))
    kept = ProgressLog(log, Partition("settled", 0))
    many = progress(lanes=2_000)
    await kept.write("g", METRICS, many)
    [found] = (await kept.load("g", [METRICS])).values()
    await log.close()
    assert 0 < len(found.settled.lanes) < 2_000
    assert max(lane.seen_ms for lane in found.settled.lanes.values()) == 1_999
    assert not found.settled.from_zero
