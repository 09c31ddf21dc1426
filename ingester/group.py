"""One sink as a consumer group: fetches, hands records to the partitions' feeds, and passes partitions on in order."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ingester.commits import Commits
from ingester.config import SinkConfig
from ingester.deliver import Context
from ingester.feed import Feed
from ingester.progress import Progress, ProgressLog
from ingester.settle import Settled
from pipeline.delivery import Backoff
from pipeline.errors import TransientError
from pipeline.log.interface import Consumer, Log, OffsetOutOfRangeError, Partition
from pipeline.telemetry import IngesterMetrics

logger = logging.getLogger(__name__)

_FETCH_BYTES = 8 * 2**20
_FETCH_TIMEOUT_S = 0.25
_RATE_OVER_S = 30.0
_RETENTION_ALARM = 0.8


@dataclass(slots=True)
class Running:
    """A partition that is ours: its feed and the feed's task."""

    feed: Feed
    task: asyncio.Task[None]
    end: int = 0
    start: int = 0
    last: dict[str, int] = field(default_factory=dict)
    """Items delivered per cluster when the rates were last brought up to date."""
    near_retention: bool = False


class Group:
    """A member of a sink's group. `run` is its task; the log calls `assigned` and `revoked`."""

    def __init__(
        self,
        group: str,
        topic: str,
        log: Log,
        config: SinkConfig,
        progress: ProgressLog,
        metrics: IngesterMetrics,
        make_context: Callable[["Group"], Context],
        *,
        settle_interval_s: float,
        revoke_timeout_s: float,
        forget_after_s: float,
        retention_s: float | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.group = group
        self.topic = topic
        self.config = config
        self.running: dict[Partition, Running] = {}
        self.trouble = "has not joined its group yet"
        """Why it cannot work now; empty when it can."""
        self._log = log
        self._progress = progress
        self._metrics = metrics
        self._context = make_context(self)
        self._settle_interval_s = settle_interval_s
        self._revoke_timeout_s = revoke_timeout_s
        self._forget_after_s = forget_after_s
        self._retention_s = retention_s
        self._clock = clock
        self._consumer: Consumer | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._joined = asyncio.Event()
        self._paused: set[Partition] = set()
        self._stop = asyncio.Event()
        self._urgent = asyncio.Event()
        self._commits = Commits(self._commit)

    # The group's own task.

    async def run(self) -> None:
        """Join and work until `stop`; joins again where the log was away, and after any other failure.

        An error that nobody foresaw stops neither the process nor the other sinks: what was not committed is delivered
        again after a while, which grows, and until then the sink is not ready.
        """
        backoff, patience = Backoff(first_s=0.5), Backoff(first_s=1.0, longest_s=60.0)
        while not self._stop.is_set():
            try:
                async with asyncio.TaskGroup() as tasks:
                    self._tasks = tasks
                    writer = tasks.create_task(self._write_down(), name=f"settle {self.group}")
                    try:
                        await self._work(backoff)
                    finally:
                        writer.cancel()
            except* TransientError as errors:
                self.trouble = str(errors.exceptions[0])
                logger.warning("group is left and joined again", extra={"group": self.group, "reason": self.trouble})
                await self._wait(backoff.next_s())
            except* Exception as errors:
                self.trouble = f"has failed: {_first_words(errors)}"
                self._metrics.group_failures.labels(self.config.name).inc()
                logger.critical("a sink has failed and begins anew", extra={"group": self.group}, exc_info=errors)
                await self._wait(patience.next_s())

    def stop(self) -> None:
        """Begin to leave: `run` returns when everything is settled that was sent."""
        self._stop.set()

    async def _work(self, backoff: Backoff) -> None:
        consumer = await self._log.subscribe(self.group, [self.topic], self)
        self._consumer = consumer
        self._joined.set()
        try:
            while not self._stop.is_set():
                await self._fetch(consumer)
                backoff.reset()
        finally:
            # Awaits `revoked` for all partitions, so that what is in flight is settled first.
            await consumer.close()
            self._consumer = None
            self._joined.clear()
            await self.revoked(list(self.running))

    async def _fetch(self, consumer: Consumer) -> None:
        try:
            batches = await consumer.fetch(max_bytes=_FETCH_BYTES, timeout_s=_FETCH_TIMEOUT_S)
        except OffsetOutOfRangeError as error:
            logger.error(
                "the log has dropped records that were not read", extra={"group": self.group, "reason": str(error)}
            )
            running = self.running.get(error.at)
            if running is not None and error.start < running.feed.next_offset:
                raise TransientError(f"{error}: the topic was made anew") from error
            # The lanes' sequences show what is missing.
            consumer.seek(error.at, error.start)
            return
        self.trouble = ""
        for at, records in batches.items():
            running = self.running.get(at)
            if running is None:
                continue
            running.feed.offer(records)
            if running.feed.full and at not in self._paused:
                self._paused.add(at)
                consumer.pause(at)

    def room(self, at: Partition) -> None:
        """Fetch a partition again whose feed was full."""
        if at in self._paused and self._consumer is not None and at in self.running:
            self._paused.discard(at)
            self._consumer.resume(at)

    def hurry(self) -> None:
        """Write progress down at once."""
        self._urgent.set()

    async def commit(self, at: Partition, offset: int) -> None:
        """Commit for a feed; raises TransientError."""
        await self._commits.add(at, offset)

    async def _commit(self, offsets: Mapping[Partition, int]) -> None:
        if self._consumer is None:
            raise TransientError("not a member of the group now")
        started_s = self._clock()
        await self._consumer.commit(offsets)
        self._metrics.commit_seconds.labels(self.config.name).observe(self._clock() - started_s)

    # Told by the log.

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """Take partitions over from where their last owner settled."""
        taken = [at for at in partitions if at not in self.running]
        if not taken:
            return
        await self._joined.wait()  # the log may assign before `subscribe` has given us the consumer
        assert self._consumer is not None
        kept = await self._progress.load(self.group, taken)
        committed = await self._log.committed(self.group, taken)
        for at in taken:
            progress, offset = await self._begin(at, kept.get(at), committed.get(at))
            self._consumer.seek(at, progress.offset)
            feed = Feed(at, self._context, progress, offset)
            assert self._tasks is not None
            task = self._tasks.create_task(feed.run(), name=f"feed {self.group} {at.topic}/{at.number}")
            self.running[at] = Running(feed, task)
        self._metrics.partitions.labels(self.config.name).set(len(self.running))
        logger.info("partitions taken over", extra={"group": self.group, "partitions": sorted(taken)})

    async def _begin(self, at: Partition, kept: Progress | None, committed: int | None) -> tuple[Progress, int]:
        """Return what is settled and from which offset on records are to be delivered."""
        start, end = await self._log.bounds(at)
        if committed is not None and committed > end:
            logger.error("the topic was made anew", extra={"partition": at, "committed": committed, "end": end})
        if committed is None or committed > end:
            offset = start if committed is not None else await self._first_offset(at, start, end)
            # Nobody sends anything before this is committed: from here on nothing is in doubt.
            progress = Progress(offset, Settled(from_zero=offset == 0), window=self.config.window)
            await self.commit(at, offset)
            progress.clean = True
        elif kept is None or kept.offset > committed:
            # Never written, or somebody has set the group back: what was settled behind that point is of no use.
            offset = committed
            progress = Progress(offset, Settled(from_zero=offset == 0), window=self.config.window)
            if kept is not None:
                logger.warning("group was set back", extra={"partition": at, "from": kept.offset, "to": committed})
                progress.ledger = kept.ledger
        else:
            offset, progress = committed, kept
            progress.clean = progress.clean and progress.offset == committed
        was_clean = progress.clean
        progress.clean = False
        progress.window = self.config.window if was_clean else max(self.config.window, progress.window)
        progress.written_ms = int(self._clock() * 1000)
        await self._progress.write(self.group, at, progress)
        progress.clean = was_clean
        return progress, offset

    async def _first_offset(self, at: Partition, start: int, end: int) -> int:
        if self.config.start == "latest":
            return end
        start_ms = self.config.start_ms()
        return start if start_ms is None else max(start, await self._log.offset_at(at, start_ms))

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Settle what is in flight, within a deadline, and write down where the next owner begins."""
        going = [at for at in partitions if at in self.running]
        if not going:
            return
        await asyncio.gather(*(self._let_go(at, self.running[at]) for at in going))
        for at in going:
            del self.running[at]
            self._paused.discard(at)
        self._metrics.partitions.labels(self.config.name).set(len(self.running))
        logger.info("partitions let go", extra={"group": self.group, "partitions": sorted(going)})

    async def _let_go(self, at: Partition, running: Running) -> None:
        timeout_s = self._revoke_timeout_s
        if self._consumer is not None:
            timeout_s = min(timeout_s, self._consumer.rebalance_timeout_s / 2)
        clean = await running.feed.stop(running.task, timeout_s)
        progress = running.feed.progress()
        progress.clean = clean
        try:
            await self.write(at, progress)
        except TransientError as error:
            logger.warning("settled state not written", extra={"partition": at, "reason": str(error)})

    # Writing down, and what the metrics tell.

    async def _write_down(self) -> None:
        while True:
            started_s = self._clock()
            try:
                async with asyncio.timeout(self._settle_interval_s):
                    await self._urgent.wait()
            except TimeoutError:
                pass
            self._urgent.clear()
            try:
                await self._refresh(self._clock() - started_s)
            except TransientError as error:
                logger.warning("settled state not written", extra={"group": self.group, "reason": str(error)})

    async def _refresh(self, passed_s: float) -> None:
        for at, running in list(self.running.items()):
            running.start, running.end = await self._log.bounds(at)
            feed = running.feed
            self._observe(at, running)
            if self._rates(running, passed_s) or feed.dirty:
                feed.dirty = False
                feed.forget(int((self._clock() - self._forget_after_s) * 1000))
                feed.progress().clean = False
                await self.write(at, feed.progress())

    async def write(self, at: Partition, progress: Progress) -> None:
        """Write a partition's progress down, durably; raises TransientError."""
        progress.written_ms = int(self._clock() * 1000)
        await self._progress.write(self.group, at, progress)

    def _rates(self, running: Running, passed_s: float) -> bool:
        """Bring the rates up to date; True while they move."""
        progress = running.feed.progress()
        share = min(1.0, passed_s / _RATE_OVER_S)
        moved = False
        for cluster, counts in progress.ledger.items():
            before = running.last.get(cluster, counts.delivered)
            now = (counts.delivered - before) / passed_s if passed_s > 0 else 0.0
            old = progress.rates.get(cluster, 0.0)
            rate = round(old + share * (now - old), 1)
            running.last[cluster] = counts.delivered
            if rate != old:
                progress.rates[cluster] = rate
                moved = True
        return moved

    def _observe(self, at: Partition, running: Running) -> None:
        name, number, feed, metrics = self.config.name, str(at.number), running.feed, self._metrics
        metrics.lag_seconds.labels(name, number).set(self.lag_s(running))
        metrics.lag_records.labels(name, number).set(max(0, running.end - feed.committed))
        kept = running.end - running.start
        headroom = (feed.committed - running.start) / kept if kept else 1.0
        metrics.retention_headroom.labels(name, number).set(headroom)
        self._warn_of_retention(at, running)
        metrics.queued_bytes.labels(name).set(self._context.budget.used)
        metrics.stuck_partitions.labels(name).set(sum(bool(self.stuck(other)) for other in self.running.values()))

    def _warn_of_retention(self, at: Partition, running: Running) -> None:
        """Say it, once, before the log drops what was not delivered."""
        if self._retention_s is None:
            return
        lag_s = self.lag_s(running)
        near = lag_s > _RETENTION_ALARM * self._retention_s
        if near and not running.near_retention:
            logger.error(
                "the log will soon drop records that are not delivered",
                extra={"group": self.group, "partition": at, "lag_s": lag_s, "retention_s": self._retention_s},
            )
        running.near_retention = near

    def lag_s(self, running: Running) -> float:
        """Return the age of the oldest record that is not settled, 0 where all are."""
        oldest_ms = running.feed.oldest_ms()
        if oldest_ms is None and running.end > running.feed.next_offset:
            oldest_ms = running.feed.progress().head_ms or None
        return max(0.0, self._clock() - oldest_ms / 1000) if oldest_ms is not None else 0.0

    def stuck(self, running: Running) -> str:
        """Return what somebody has to do something about, if there is anything."""
        alarms = (retry.reason for _, _, retry in running.feed.trouble() if retry.alarm)
        return running.feed.stuck or next(alarms, "")

    async def _wait(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._stop.wait()
        except TimeoutError:
            pass


def _first_words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
