from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pipeline.store.logs import LogStore, LogStoreConfig
from tests.pipeline.store.conftest import Clock

Open = Callable[..., Awaitable[LogStore]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def open_store(tmp_path: Path, clock: Clock) -> AsyncIterator[Open]:
    stores: list[LogStore] = []

    async def open_(registry: CollectorRegistry | None = None, **options: object) -> LogStore:
        # Sizes below what a configuration may ask for keep tests short.
        config = LogStoreConfig.model_validate({"path": tmp_path / "logs.db"}).model_copy(update=options)
        store = LogStore(config, registry or CollectorRegistry(), clock=clock)
        await store.start()
        stores.append(store)
        return store

    yield open_
    for store in stores:
        if store.ready() is None:
            await store.close()
