from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ingester.sinks.store import MAX_REQUEST_BYTES, StoreSink
from pipeline.delivery import Delivered, Rejected, Retry, TooLarge
from pipeline.send.codec import METRICS
from pipeline.send.request import Piece, Request
from pipeline.store import Store, StoreConfig
from pipeline.wire import snappy
from pipeline.wire.protobuf import encode_varint
from tests.pipeline.store.requests import series


def one(payload: bytes) -> Request:
    return Request([Piece(payload, 1)], METRICS, cluster="c")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(StoreConfig(path=tmp_path / "store.db"), CollectorRegistry())
    await store.start()
    yield store
    if store.ready() is None:
        await store.close()


async def test_a_request_is_delivered_once_and_again_without_harm(store: Store) -> None:
    sink = StoreSink("store", store)
    payload = snappy.compress(series("a", (1_700_000_000_000, 1.0)))
    assert await sink.send(one(payload)) == Delivered()
    assert await sink.send(one(payload)) == Delivered("1 were stored already")


async def test_what_cannot_be_stored_is_rejected_with_the_reason(store: Store) -> None:
    sink = StoreSink("store", store)
    nameless = snappy.compress(series("", (1_700_000_000_000, 1.0), job="x"))
    outcome = await sink.send(one(nameless))
    assert outcome == Rejected("not stored: a series without a name at byte 2", 400)
    assert isinstance(await sink.send(one(b"\x04nonsense")), Rejected)


async def test_a_request_that_claims_too_much_is_to_be_split_before_it_is_inflated(store: Store) -> None:
    bomb = encode_varint(MAX_REQUEST_BYTES + 1) + b"\x00a"
    assert isinstance(await StoreSink("store", store).send(one(bomb)), TooLarge)


async def test_a_store_that_is_closed_is_tried_again(store: Store) -> None:
    await store.close()
    payload = snappy.compress(series("a", (1_700_000_000_000, 1.0)))
    outcome = await StoreSink("store", store).send(one(payload))
    assert isinstance(outcome, Retry)
    assert outcome.alarm
