from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ingester.sinks.store import MAX_REQUEST_BYTES
from ingester.sinks.store.logs import LogStoreSink
from pipeline.delivery import Delivered, Partly, PartRefused, Retry, TooLarge
from pipeline.send.codec import LOGS
from pipeline.send.request import Piece, Request
from pipeline.store.logs import LogStore, LogStoreConfig, Query
from pipeline.wire import snappy
from pipeline.wire.protobuf import encode_varint
from tests.pipeline.store.logs.requests import push


def request(*payloads: bytes) -> Request:
    return Request([Piece(payload, 1, source) for source, payload in enumerate(payloads)], LOGS, cluster="c")


def payload(*lines: str) -> bytes:
    return snappy.compress(push({"app": "a"}, *((1, line) for line in lines)))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LogStore]:
    store = LogStore(LogStoreConfig(path=tmp_path / "logs.db"), CollectorRegistry())
    await store.start()
    yield store
    if store.ready() is None:
        await store.close()


async def lines(store: LogStore) -> list[str]:
    return sorted(found.line for found in (await store.entries(Query(), 100)).entries)


async def test_a_request_in_doubt_is_delivered_again_without_harm(store: LogStore) -> None:
    sink = LogStoreSink("store-logs", store)
    assert await sink.send(request(payload("a", "a"), payload("b"))) == Delivered()
    again = request(payload("a", "a"), payload("b"), payload("c")).in_doubt()
    assert await sink.send(again) == Delivered("3 were stored already")
    assert await lines(store) == ["a", "a", "b", "c"]


async def test_what_is_said_twice_is_stored_twice_where_nothing_is_in_doubt(store: LogStore) -> None:
    sink = LogStoreSink("store-logs", store)
    assert await sink.send(request(payload("a"), payload("a"))) == Delivered()
    assert await lines(store) == ["a", "a"]


async def test_of_several_records_only_that_is_refused_which_cannot_be_stored(store: LogStore) -> None:
    broken = snappy.compress(push({"app": "a"}, (1, "x"))[:-1])
    outcome = await LogStoreSink("store-logs", store).send(request(payload("a"), broken, b"\x04nonsense", payload("b")))
    assert isinstance(outcome, Partly)
    assert [(refused.source, refused.status) for refused in outcome.refused] == [(1, 400), (2, 400)]
    assert isinstance(outcome.refused[0], PartRefused)
    assert outcome.refused[0].payload == broken
    assert "not stored: " in outcome.refused[0].reason
    assert await lines(store) == ["a", "b"]


async def test_a_record_that_claims_too_much_is_to_be_split_before_it_is_inflated(store: LogStore) -> None:
    bomb = encode_varint(MAX_REQUEST_BYTES + 1) + b"\x00a"
    assert isinstance(await LogStoreSink("store-logs", store).send(request(bomb)), TooLarge)


async def test_a_store_that_is_closed_is_tried_again(store: LogStore) -> None:
    await store.close()
    outcome = await LogStoreSink("store-logs", store).send(request(payload("a")))
    assert isinstance(outcome, Retry)
    assert outcome.alarm
    assert outcome.perhaps_taken
