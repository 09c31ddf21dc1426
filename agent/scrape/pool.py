"""All scrape loops of an agent, kept in step with what discovery finds."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from functools import partial

import aiohttp

from agent.config.scrape import ScrapeConfig
from agent.scrape.body import Buffers
from agent.scrape.fetch import HttpFetch, new_session
from agent.scrape.labelling import LabelLimits, Labelling
from agent.scrape.loop import Emit, ScrapeLoop
from agent.scrape.metadata import MetadataBook
from agent.scrape.page import MAX_PART_SAMPLES, Page, PageOptions
from agent.scrape.schedule import Clock, SystemClock
from agent.scrape.table import TableOptions
from agent.targets import Target
from agent.targets_api import Health
from pipeline.http_client import HttpAccess
from pipeline.relabel import compile_rules, relabel
from pipeline.telemetry import ScrapeMetrics
from pipeline.tracing import OFF, Tracing
from pipeline.wire.exposition import Format
from pipeline.wire.remote_write import Labels

logger = logging.getLogger(__name__)

STOP_S = 5.0
"""How long a scrape that has begun may take to finish when its target goes."""


class ScrapePool:
    """Scrapes every target it was last given; each in a task of its own.

    `external_labels` hold the cluster's name under `cluster_label`. `accelerated` picks the page cache's
    implementation: None takes the compiled one where it was built.
    """

    def __init__(
        self,
        emit: Emit,
        metrics: ScrapeMetrics,
        *,
        agent: str,
        external_labels: Mapping[str, str],
        cluster_label: str,
        max_samples: int = MAX_PART_SAMPLES,
        canonical_bounds: bool = False,
        user_agent: str = "Pronoia",
        tracing: Tracing = OFF,
        clock: Clock | None = None,
        accelerated: bool | None = None,
    ) -> None:
        self._emit = emit
        self._metrics = metrics
        self._agent = agent
        self._external = tuple(sorted(external_labels.items()))
        self._cluster_label = cluster_label
        self._max_samples = max_samples
        self._canonical_bounds = canonical_bounds
        self._user_agent = user_agent
        self._tracing = tracing
        self._clock = clock or SystemClock()
        self._accelerated = accelerated
        self._book = MetadataBook()
        self._buffers = Buffers()
        self._loops: dict[str, ScrapeLoop] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._access: dict[str, tuple[ScrapeConfig, HttpAccess]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def sync(self, targets: Iterable[Target]) -> None:
        """Scrape exactly these from now on: new ones begin, others go on, those that are gone end their series."""
        wanted = {target.key: target for target in targets}
        gone = {key: loop for key, loop in self._loops.items() if wanted.get(key) != loop.target}
        stopped = {_identity(loop.target): self._stop(key) for key, loop in gone.items()}
        for key, target in wanted.items():
            if key not in self._loops:
                await self._begin(target, stopped.pop(_identity(target), None))
        for loop, task in stopped.values():
            self._end_later(loop, task)

    def health(self, target: Target) -> Health:
        """Return how the target's last scrape went."""
        loop = self._loops.get(target.key)
        return Health() if loop is None else loop.health

    async def close(self) -> None:
        """Stop scraping, without ending any series: the next start goes on with them."""
        stopped = [self._stop(key) for key in list(self._loops)]
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*(_finish(task) for _, task in stopped), *self._ending, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _stop(self, key: str) -> tuple[ScrapeLoop, asyncio.Task[None]]:
        loop, task = self._loops.pop(key), self._tasks.pop(key)
        loop.stop()
        return loop, task

    async def _begin(self, target: Target, before: tuple[ScrapeLoop, asyncio.Task[None]] | None) -> None:
        if before is not None:
            await _finish(before[1])
        loop = ScrapeLoop(
            target,
            self._page(target),
            HttpFetch(
                self._shared_session(),
                self._access_of(target.config),
                target.config,
                target.url,
                target.timeout_s,
                self._user_agent,
            ),
            self._emit,
            self._clock,
            self._metrics,
            self._buffers,
            self._agent,
            before[0] if before is not None else None,
            self._tracing,
        )
        task = asyncio.create_task(loop.run(), name=f"scrape {target.url}")
        task.add_done_callback(partial(_tell, target.url))
        self._loops[target.key], self._tasks[target.key] = loop, task

    def _end_later(self, loop: ScrapeLoop, task: asyncio.Task[None]) -> None:
        async def end() -> None:
            await _finish(task)
            await loop.end_series()

        ending = asyncio.create_task(end(), name=f"end {loop.target.url}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        ending.add_done_callback(partial(_tell, loop.target.url))

    def _page(self, target: Target) -> Page:
        labelling = labelling_of(target, self._external, self._cluster_label)
        return Page(
            labelling,
            page_options(target, self._max_samples, canonical_bounds=self._canonical_bounds),
            self._book,
            self._accelerated,
        )

    def _access_of(self, config: ScrapeConfig) -> HttpAccess:
        known = self._access.get(config.job_name)
        if known is None or known[0] != config:
            known = (config, HttpAccess(config, self._clock.now_s))
            self._access[config.job_name] = known
        return known[1]

    def _shared_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session(self._user_agent)
        return self._session


def labelling_of(target: Target, external: Labels, cluster_label: str) -> Labelling:
    """Return how the labels of a target's series are made."""
    config = target.config
    rules = compile_rules(config.metric_relabel_configs, config.legacy_names)
    return Labelling(
        target=target.labels,
        honor_labels=config.honor_labels,
        relabel=(lambda labels: relabel(labels, rules)) if rules else None,
        external=external,
        cluster_label=cluster_label,
        limits=LabelLimits(config.label_limit, config.label_name_length_limit, config.label_value_length_limit),
        legacy_names=config.legacy_names,
    )


def page_options(target: Target, max_samples: int = MAX_PART_SAMPLES, *, canonical_bounds: bool = False) -> PageOptions:
    """Return how a target's pages are read and sent."""
    config = target.config
    return PageOptions(
        table=TableOptions(
            config.honor_timestamps, config.track_timestamps_staleness, config.sample_limit, canonical_bounds
        ),
        fallback=fallback_format(config),
        extra_reports=config.extra_scrape_metrics,
        timeout_s=target.timeout_s,
        max_samples=max_samples,
    )


def fallback_format(config: ScrapeConfig) -> Format | None:
    """Return the format of a page whose Content-Type names none."""
    if config.fallback_scrape_protocol is None:
        return None
    return Format.OPENMETRICS if config.fallback_scrape_protocol.startswith("OpenMetrics") else Format.TEXT


def _identity(target: Target) -> tuple[str, object]:
    """Two targets with the same job and labels write the same series, whatever their URL."""
    return target.config.job_name, target.labels


async def _finish(task: asyncio.Task[None]) -> None:
    """Wait until a loop that was told to stop has ended; cut a scrape short that takes too long."""
    await asyncio.wait([task], timeout=STOP_S)
    if not task.done():
        task.cancel()
        await asyncio.wait([task])


def _tell(url: str, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("scraping ended with a defect of ours", exc_info=error, extra={"target": url})
