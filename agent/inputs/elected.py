"""Work that one agent of all does: a group of `agent.sharing` with one slot."""

import asyncio
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Final

from prometheus_client import CollectorRegistry

from agent.discovery.kubernetes import ApiServer
from agent.sharing.tenure import Tenure
from agent.sharing.view import Terms
from agent.sharing.worker import Worker
from pipeline.errors import PermanentError
from pipeline.telemetry import SharingMetrics

_LONGEST_NAME: Final = 40


def group_name(kind: str, job: str) -> str:
    """Return the name of a job's group, as a Lease's name can hold it: the same for all agents with the job."""
    plain = re.sub(r"[^a-z0-9]+", "-", f"{kind}-{job}".lower()).strip("-")
    if plain == f"{kind}-{job}" and len(plain) <= _LONGEST_NAME:
        return plain
    return f"{plain[:31].rstrip('-')}-{blake2b(job.encode(), digest_size=4).hexdigest()}"


class Elected:
    """Does `work` as long as the one slot is ours; it is cancelled when it is not any more.

    `work` is given the turn, and looks at `may_keep` before it keeps anything.
    """

    def __init__(
        self,
        group: str,
        server: ApiServer,
        namespace: str,
        duration_s: int,
        work: Callable[[Tenure], Awaitable[None]],
    ) -> None:
        if not namespace:
            raise PermanentError("an election needs a namespace for its Lease: set lease_namespace")
        # A process that was killed and started again is another one.
        me = f"{socket.gethostname()}/{secrets.token_hex(4)}"
        self._work = work
        self._changed = asyncio.Event()
        self._doing: asyncio.Task[None] | None = None
        self._turn: Tenure | None = None
        self._worker = Worker(
            group,
            Terms(me, 1, duration_s),
            server,
            namespace,
            SharingMetrics(CollectorRegistry()),  # those of the agent are about its scraping
            seed=group,
            changed=self._changed.set,
            give_up=self._give_up,
        )

    @property
    def is_ours(self) -> bool:
        """Whether this agent does the work now."""
        return self._doing is not None

    async def run(self) -> None:
        """Take part until cancelled, then let another have it at once. Raises what the work raises."""
        taking_part = asyncio.create_task(self._worker.run(), name="election")
        try:
            while True:
                changed = asyncio.create_task(self._changed.wait(), name="election: changed")
                awaited = {taking_part, changed} | ({self._doing} if self._doing is not None else set())
                try:
                    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                self._changed.clear()
                if taking_part.done():
                    taking_part.result()
                if self._doing is not None and self._doing.done():
                    doing, self._doing = self._doing, None
                    doing.result()
                await self._give_up()
                turn = self._worker.tenures.get(0)
                if turn is not None and not turn.has_ended and self._doing is None:
                    self._turn = turn
                    self._doing = asyncio.create_task(self._do(turn), name="election: work")
        finally:
            await self._worker.close()
            await self._end_work()
            taking_part.cancel()
            await asyncio.gather(taking_part, return_exceptions=True)

    async def _do(self, turn: Tenure) -> None:
        await self._work(turn)

    async def _give_up(self) -> None:
        """End the work of a turn that has ended; nothing of it goes on when this returns."""
        if self._turn is not None and (self._turn.has_ended or self._worker.tenures.get(0) is not self._turn):
            await self._end_work()

    async def _end_work(self) -> None:
        doing, self._doing, self._turn = self._doing, None, None
        if doing is not None:
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)
