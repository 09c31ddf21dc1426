from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pipeline.store import Store, StoreConfig

NOW_S = 1_800_000_000.0


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


Open = Callable[..., Awaitable[Store]]


@pytest.fixture
async def open_store(tmp_path: Path, clock: Clock) -> AsyncIterator[Open]:
    stores: list[Store] = []

    async def open_(registry: CollectorRegistry | None = None, **options: object) -> Store:
        # Sizes below what a configuration may ask for keep tests short.
        config = StoreConfig.model_validate({"path": tmp_path / "store.db"}).model_copy(update=options)
        store = Store(config, registry or CollectorRegistry(), clock=clock)
        await store.start()
        stores.append(store)
        return store

    yield open_
    for store in stores:
        if store.ready() is None:
            await store.close()
