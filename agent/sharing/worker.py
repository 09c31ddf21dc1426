"""Holding slots: the Leases are followed, `decide` says what to do, and this does it. All that is I/O is here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from agent.discovery.kubernetes import ApiServer, Changes, ConflictError, NotFoundError
from agent.sharing.decide import Action, Kind, decide
from agent.sharing.lease import Lease, released, renewed_by, slot_of
from agent.sharing.leases import Leases
from agent.sharing.tenure import Tenure, boot_s
from agent.sharing.view import Terms, View, begin, failed, let_go, lose_sight, observe, refused, sight, vanish, wrote
from pipeline.errors import PermanentError, PipelineError
from pipeline.telemetry import SharingMetrics

logger = logging.getLogger(__name__)

REQUEST: Final = 0.2
"""The part of a lease that one request may take: a connection that hangs must not be what loses a lease."""
CLOSE_S: Final = 3.0


class Worker:
    """One agent among those of a group. Run `run` as a task; `close` gives everything back.

    `tenures` are the slots that it holds, and are read at any moment. `changed` is called when one came or went, and
    `give_up` must return when no scrape of a tenure that has ended goes on. `seed` is what all the group's agents have
    in common.
    """

    def __init__(
        self,
        group: str,
        terms: Terms,
        server: ApiServer,
        namespace: str,
        metrics: SharingMetrics,
        *,
        seed: str,
        changed: Callable[[], None],
        give_up: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = boot_s,
    ) -> None:
        self.group = group
        self.terms = terms
        self.tenures: dict[int, Tenure] = {}
        self.view = View(terms, sighted_s=None)
        self._leases = Leases(server, namespace, group)
        self._metrics = metrics
        self._seed = seed
        self._changed = changed
        self._give_up = give_up
        self._clock = clock
        self._wake = asyncio.Event()
        self._told: set[tuple[str, int]] = set()
        self._closing = False
        metrics.slots.set(terms.workers)
        metrics.age.set_function(self._age_s)

    async def run(self) -> None:
        """Take part until cancelled, or until `close`."""
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._follow(), name="sharing: leases")
            while not self._closing:
                self._wake.clear()
                decision = decide(self.view, self._clock())
                for action in decision.actions:
                    if action.kind == "lose":
                        self._lose(action.slot)
                    else:
                        self._note(begin(self.view, action.slot))
                        tasks.create_task(self._act(action), name=f"sharing: {action.kind} {action.slot}")
                if not decision.actions:
                    await self._sleep_until(decision.wake_s)
            following.cancel()

    async def close(self) -> None:
        """Stop the work of every slot, then let others have it at once."""
        self._closing = True
        self._wake.set()
        for tenure in self.tenures.values():
            tenure.is_closing = True
        await self._give_up()
        try:
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(*(self._act(Action("release", slot)) for slot in list(self.view.held)))
        except TimeoutError:
            logger.warning("leases are not given back in time: they run out by themselves")

    async def _sleep_until(self, wake_s: float | None) -> None:
        try:
            async with asyncio.timeout(None if wake_s is None else max(0.0, wake_s - self._clock())):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _follow(self) -> None:
        async for happened in self._leases.follow():
            if isinstance(happened, Changes):
                self._metrics.changes.inc(len(happened.objects))
                self._observe(happened)
            else:
                self._metrics.requests.labels("watch", "failed").inc()
                self._note(lose_sight(self.view))
                logger.warning("leases cannot be watched: %s", happened.error)

    def _observe(self, changes: Changes[Lease]) -> None:
        now_s = self._clock()
        view = sight(self.view, now_s)
        gone = {slot_of(key.rpartition("/")[2], self.group) for key, lease in changes.objects.items() if lease is None}
        for lease in changes.objects.values():
            if lease is not None:
                view = observe(view, lease, now_s)
        if changes.whole:
            there = {lease.slot for lease in changes.objects.values() if lease is not None}
            gone |= {*range(self.terms.workers), *view.seen} - there
        for slot in gone:
            # A list may be older than what we wrote meanwhile; our next renewal finds out.
            if slot not in view.held and slot not in view.busy:
                view = vanish(view, slot, now_s)
        self._note(view)

    async def _act(self, action: Action) -> None:
        slot, kind = action.slot, action.kind
        if kind == "release":
            await self._stop(slot)
        sent_s = self._clock()
        try:
            async with asyncio.timeout(self.terms.duration_s * REQUEST):
                lease = await self._leases.write(self._wanted(kind, slot))
        except ConflictError:
            self._metrics.requests.labels(kind, "conflict").inc()
            await self._look(slot)
        except NotFoundError:
            self._metrics.requests.labels(kind, "conflict").inc()
            self._note(vanish(refused(self.view, slot), slot, self._clock()))
        except (PipelineError, TimeoutError) as error:
            self._failed(kind, slot, error)
        else:
            self._metrics.requests.labels(kind, "ok").inc()
            self._told.clear()
            self._note(wrote(self.view, lease, sent_s, self._clock()))

    def _wanted(self, kind: Kind, slot: int) -> Lease:
        seen = self.view.seen.get(slot)
        base = seen.lease if seen is not None and seen.lease is not None else Lease(slot, workers=self.terms.workers)
        now, terms = datetime.now(UTC), self.terms
        if kind == "release":
            return released(base, now)
        if kind == "ask":
            return replace(base, wanted_by=terms.me)
        return renewed_by(base, terms.me, duration_s=terms.duration_s, workers=terms.workers, now=now)

    async def _look(self, slot: int) -> None:
        """See who was faster."""
        try:
            async with asyncio.timeout(self.terms.duration_s * REQUEST):
                lease = await self._leases.read(slot)
        except NotFoundError:
            self._note(vanish(refused(self.view, slot), slot, self._clock()))
        except (PipelineError, TimeoutError) as error:
            self._failed("look", slot, error)
        else:
            self._note(refused(observe(self.view, lease, self._clock()), slot))

    def _failed(self, kind: str, slot: int, error: Exception) -> None:
        self._metrics.requests.labels(kind, "failed").inc()
        reason = str(error) or f"no answer within {self.terms.duration_s * REQUEST:g} s"
        # An API server that is away is told once; the metrics count on.
        level = logging.DEBUG if (kind, slot) in self._told else logging.WARNING
        logger.log(level, "a lease could not be written: %s", reason, extra={"slot": slot, "step": kind})
        self._told.add((kind, slot))
        self._note(failed(self.view, slot, self._clock(), for_good=isinstance(error, PermanentError)))

    def _lose(self, slot: int) -> None:
        """Let go of what is not ours any more; nobody is told, since we cannot or another has it."""
        self._metrics.losses.labels("lost").inc()
        logger.warning("a slot is lost: its targets are another agent's now", extra={"slot": slot})
        self._note(let_go(self.view, slot, self._clock()))

    async def _stop(self, slot: int) -> None:
        """Let the scrapes of a slot come to their end, before anybody else may begin."""
        if (tenure := self.tenures.get(slot)) is not None:
            tenure.is_closing = True
            self._changed()
            await self._give_up()
        self._metrics.losses.labels("released").inc()
        logger.info("a slot is given back", extra={"slot": slot})
        self._note(begin(let_go(self.view, slot, self._clock()), slot))

    def _note(self, view: View) -> None:
        """Go on from here: who holds what is told at once, since scrapes look at it before they begin."""
        before, self.view = self.view, view
        for slot, held in view.held.items():
            known = self.tenures.get(slot)
            if known is not None:
                known.until_s = held.until_s
                continue
            self.tenures[slot] = Tenure(slot, self._seed, held.until_s, held.covered_s, self._clock, self._clock())
            self._metrics.takeovers.inc()
            logger.info("a slot is ours: its targets are scraped from here", extra={"slot": slot})
        for slot in self.tenures.keys() - view.held.keys():
            self.tenures.pop(slot).end()
        if before.held.keys() != view.held.keys():
            self._metrics.held.set(len(view.held))
            self._changed()
        self._wake.set()

    def status(self) -> dict[str, Any]:
        """Return what is known of every slot; `seen_s` is how long ago it showed its last sign of life."""
        now_s = self._clock()
        slots = [
            {
                "slot": slot,
                "holder": seen.holder.rpartition("/")[0],
                "ours": slot in self.view.held,
                "seen_s": round(now_s - seen.since_s, 3),
                "lease_s": seen.lease.duration_s if seen.lease is not None else None,
            }
            for slot, seen in sorted(self.view.seen.items())
        ]
        return {"workers": self.terms.workers, "lease_s": self.terms.duration_s, "slots": slots}

    def _age_s(self) -> float:
        now_s = self._clock()
        return max((now_s - held.sent_s for held in self.view.held.values()), default=0.0)
