"""A console on a store, with sources that tests set."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from console import Console, ConsoleConfig, DeadLetterPage, DeadLetterRow, Sources
from console.sources import TargetsWanted
from pipeline.config import Address
from pipeline.errors import PermanentError, TransientError
from pipeline.store import Store, StoreConfig
from pipeline.store.logs import LogStore, LogStoreConfig

STATES = ("down", "unknown", "up", "duplicate", "unusable", "dropped")


def counts(**changed: float) -> dict[str, float]:
    return {"delivered": 10, "rejected": 0, "missing": 0, "duplicated": 0, "lag_s": 0.5} | changed


def status(received: int = 10, **changed: float) -> dict[str, Any]:
    part = {"received": received, "sinks": {"store": counts(**changed)}}
    return {"clusters": [{"name": "c1", "signals": {"metrics": part}}], "sinks": []}


def target(**changed: Any) -> dict[str, Any]:
    return {
        "discoveredLabels": {"__address__": "10.0.0.1:80"},
        "labels": {"job": "apps", "instance": "10.0.0.1:80"},
        "scrapePool": "apps",
        "scrapeUrl": "http://10.0.0.1:80/metrics",
        "globalUrl": "http://10.0.0.1:80/metrics",
        "lastError": "",
        "lastScrape": "2026-01-02T03:04:05.678Z",
        "lastScrapeDuration": 0.004,
        "health": "up",
        "scrapeInterval": "15s",
        "scrapeTimeout": "10s",
    } | changed


@dataclass
class Shown:
    """What the sources give."""

    status: dict[str, Any] = field(default_factory=status)
    active: list[dict[str, Any]] = field(default_factory=lambda: [target()])
    dropped: list[dict[str, Any]] = field(default_factory=list)
    letters: list[DeadLetterRow] = field(default_factory=list)
    explained: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)
    parts: dict[str, str | None] = field(default_factory=dict)
    failing: bool = False
    log_jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    log_rows: list[dict[str, Any]] = field(default_factory=list)
    log_trouble: str | None = None

    def sources(self) -> Sources:
        async def give_status() -> dict[str, Any]:
            if self.failing:
                raise TransientError("the log does not answer")
            return self.status

        async def give_targets(state: str, pool: str) -> dict[str, Any]:
            self.asked.append((state, pool))
            dropped = {"apps": len(self.dropped)}
            return {"activeTargets": self.active, "droppedTargets": self.dropped, "droppedTargetCounts": dropped}

        async def give_page(wanted: TargetsWanted) -> dict[str, Any]:
            self.asked.append(wanted)
            rows = [{"state": one["health"], **one} for one in self.active]
            rows += [{"state": "dropped", **one} for one in self.dropped]
            jobs = {"apps": {state: sum(row["state"] == state for row in rows) for state in STATES}}
            shown = [row for row in rows if row["state"] in wanted.states]
            return {"jobs": jobs, "matching": len(shown), "rows": shown[: wanted.limit]}

        async def give_explanation(pool: str, labels: Mapping[str, str]) -> dict[str, Any]:
            self.asked.append((pool, dict(labels)))
            if pool not in self.explained:
                raise PermanentError(f'scrape pool "{pool}" not found')
            return self.explained[pool]

        async def give_logs(wanted: TargetsWanted) -> dict[str, Any]:
            self.asked.append(wanted)
            shown = [row for row in self.log_rows if row["state"] in wanted.states]
            shown = [row for row in shown if all(word in str(row).lower() for word in wanted.words)]
            rows = shown[: wanted.limit]
            return {"jobs": self.log_jobs, "matching": len(shown), "rows": rows, "trouble": self.log_trouble}

        async def give_letters(most: int) -> DeadLetterPage:
            return DeadLetterPage(len(self.letters), self.letters[:most])

        return Sources(
            give_status,
            give_targets,
            give_page,
            give_explanation,
            give_letters,
            lambda: self.parts,
            give_logs,
            give_explanation,
        )


@dataclass
class Running:
    store: Store
    logs: LogStore
    shown: Shown
    session: aiohttp.ClientSession
    url: str

    async def get(self, path: str, **parameters: Any) -> tuple[int, Any]:
        async with self.session.get(self.url + path, params=parameters) as response:
            return response.status, await response.json()


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Running]:
    registry = CollectorRegistry()
    store = Store(StoreConfig(path=tmp_path / "store.db"), registry)
    logs = LogStore(LogStoreConfig(path=tmp_path / "logs.db"), registry)
    await store.start()
    await logs.start()
    shown = Shown()
    config = ConsoleConfig(listen=Address(host="127.0.0.1", port=0), allowed_hosts=("console.example",))
    part = Console(config, store, shown.sources(), registry, logs=logs)
    await part.start()
    async with aiohttp.ClientSession() as session:
        yield Running(store, logs, shown, session, f"http://127.0.0.1:{part.port}")
    await part.drain()
    await store.close()
    await logs.close()
