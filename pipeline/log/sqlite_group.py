"""Consumer groups of the embedded log: all members live in one process, offsets are committed in a table."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from pipeline.errors import PermanentError, TransientError
from pipeline.log.interface import Partition, Rebalance, Record, Start
from pipeline.log.sqlite_reader import out_of_range

REBALANCE_S: Final = 30.0


class Host(Protocol):
    """What a group needs of the log."""

    def partitions_of(self, topic: str) -> int:
        """Return how many partitions a topic has: 0 where there is no such topic."""

    def bounds_now(self, at: Partition) -> tuple[int, int]:
        """Return the first offset kept and the next one."""

    def committed_now(self, group: str) -> Mapping[Partition, int]:
        """Return a group's committed offsets."""

    async def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Commit a group's offsets."""

    async def read_many(
        self, wanted: Sequence[tuple[Partition, int]], max_bytes: int
    ) -> Mapping[Partition, Sequence[Record]]:
        """Read several partitions from offsets on."""


class Group:
    """The members of one group, and the task that shares the partitions out whenever one comes or goes."""

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self._host = host
        self._members: list[SqliteConsumer] = []
        self._sharing = asyncio.Lock()

    def wake(self) -> None:
        """Let the members look for new records."""
        for member in self._members:
            member.wake()

    async def join(self, member: "SqliteConsumer") -> None:
        """Take a member in and share anew."""
        self._members.append(member)
        await self.share()

    async def close(self) -> None:
        """Let every member go."""
        for member in list(self._members):
            await member.close()

    async def leave(self, member: "SqliteConsumer") -> None:
        """Let a member go; the others get its partitions."""
        async with self._sharing:
            if member not in self._members:
                return
            self._members.remove(member)
            await member.lose(member.owned)
        await self.share()

    async def share(self) -> None:
        """Give every partition to one member, moving as few as possible: first all losses, then all gains."""
        async with self._sharing:
            wanted = self._assign()
            for member in list(self._members):
                await member.lose(member.owned - wanted[member])
            for member in list(self._members):
                if member in wanted:
                    await member.gain(wanted[member] - member.owned)

    def _assign(self) -> "dict[SqliteConsumer, set[Partition]]":
        shares: dict[SqliteConsumer, set[Partition]] = {member: set() for member in self._members}
        for topic in sorted({topic for member in self._members for topic in member.topics}):
            takers = [member for member in self._members if topic in member.topics]
            everything = {Partition(topic, n) for n in range(self._host.partitions_of(topic))}
            # Whoever has the least so far may take one more, so that the shares are even over all topics.
            takers.sort(key=lambda member: len(shares[member]))
            each, more = divmod(len(everything), len(takers))
            quotas = {member: each + (index < more) for index, member in enumerate(takers)}
            for member in takers:
                kept = sorted(member.owned & everything)[: quotas[member]]
                shares[member].update(kept)
                everything.difference_update(kept)
                quotas[member] -= len(kept)
            free = iter(sorted(everything))
            for member in takers:
                shares[member].update(at for _, at in zip(range(quotas[member]), free, strict=False))
        return shares


class SqliteConsumer:
    """One member of a group; see `pipeline.log.interface.Consumer`."""

    def __init__(self, group: Group, host: Host, topics: Collection[str], rebalance: Rebalance, start: Start) -> None:
        self.topics = frozenset(topics)
        self.owned: set[Partition] = set()
        self._group = group
        self._host = host
        self._rebalance = rebalance
        self._start = start
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._moving = False
        self._failure: Exception | None = None
        self._closed = False
        self._wake = asyncio.Event()
        self._turn = 0
        self._joining: asyncio.Task[None] | None = None

    @property
    def rebalance_timeout_s(self) -> float:
        """How long `revoked` should take at most: the other members wait for it."""
        return REBALANCE_S

    def begin(self) -> None:
        """Join the group in the background, as with Kafka: `assigned` is called once the partitions are shared out."""
        self._joining = asyncio.create_task(self._group.join(self), name=f"join {self._group.name}")

    def wake(self) -> None:
        """Make a waiting `fetch` look again."""
        self._wake.set()

    async def fetch(self, *, max_bytes: int, timeout_s: float) -> Mapping[Partition, Sequence[Record]]:
        """Return records behind the last ones fetched."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        while True:
            self._wake.clear()
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise PermanentError("this consumer is closed")
            if found := await self._read(max_bytes):
                return found
            if not self._readable():
                try:
                    async with asyncio.timeout_at(until_s):
                        await self._wake.wait()
                except TimeoutError:
                    return {}

    def _readable(self) -> list[tuple[Partition, int]]:
        if self._moving:
            return []
        ready: list[tuple[Partition, int]] = []
        for at in sorted(self.owned - self._paused):
            position, (first, next_) = self._positions[at], self._host.bounds_now(at)
            if not first <= position <= next_:
                raise out_of_range(at, position, first, next_)
            if position < next_:
                ready.append((at, position))
        return ready

    async def _read(self, max_bytes: int) -> Mapping[Partition, Sequence[Record]]:
        ready = self._readable()
        if not ready:
            return {}
        # Each fetch begins with another partition, so that none starves behind a full one.
        self._turn += 1
        turn = self._turn % len(ready)
        wanted = ready[turn:] + ready[:turn]
        end = self._host.bounds_now(wanted[0][0])[1]
        found = await self._host.read_many(wanted, max_bytes)
        kept: dict[Partition, Sequence[Record]] = {}
        for at, position in wanted:
            # What was lost, paused or sought while we read is not for this caller any more.
            usable = at in self.owned and at not in self._paused and self._positions.get(at) == position
            if not self._moving and usable and (records := found.get(at)):
                self._positions[at] = records[-1].offset + 1
                kept[at] = records
        first, position = wanted[0]
        if not found and self._positions.get(first) == position:
            # A gap or a compacted key at the very end: offsets without records.
            self._positions[first] = end
        return kept

    def pause(self, *partitions: Partition) -> None:
        """Leave these out until `resume`."""
        self._paused.update(partitions)

    def resume(self, *partitions: Partition) -> None:
        """Fetch these again."""
        self._paused.difference_update(partitions)
        self._wake.set()

    def seek(self, partition: Partition, offset: int) -> None:
        """Fetch this partition from `offset` on."""
        if partition not in self._positions:
            raise TransientError(f"partition {partition.topic}/{partition.number} is not ours")
        self._positions[partition] = offset
        self._wake.set()

    async def committed(self, partition: Partition) -> int | None:
        """Return the group's committed offset."""
        return self._host.committed_now(self._group.name).get(partition)

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Make these the group's committed offsets."""
        if lost := offsets.keys() - self.owned:
            raise TransientError(f"not ours any more: {', '.join(f'{at.topic}/{at.number}' for at in sorted(lost))}")
        if offsets:
            await self._host.commit(self._group.name, offsets)

    async def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        if self._joining is not None:
            await self._joining
        await self._group.leave(self)
        self._closed = True
        self._wake.set()

    async def lose(self, partitions: Collection[Partition]) -> None:
        """Let partitions go: the owner settles and commits first, while fetching rests."""
        if not partitions:
            return
        lost = frozenset(partitions)
        self._moving = True
        try:
            await self._rebalance.revoked(lost)
        except Exception as error:  # noqa: BLE001  # not ours to judge: its next fetch raises it
            self._fail(error)
        finally:
            self.owned -= lost
            self._paused -= lost
            for at in lost:
                self._positions.pop(at, None)
            self._moving = False
            self._wake.set()

    async def gain(self, partitions: Collection[Partition]) -> None:
        """Take partitions over, from where the group has committed."""
        if not partitions:
            return
        self._moving = True
        try:
            await self._place(partitions)
            self.owned |= set(partitions)
            await self._rebalance.assigned(frozenset(partitions))
        except Exception as error:  # noqa: BLE001  # not ours to judge: its next fetch raises it
            self._fail(error)
        finally:
            self._moving = False
            self._wake.set()

    async def _place(self, partitions: Collection[Partition]) -> None:
        committed = self._host.committed_now(self._group.name)
        began: dict[Partition, int] = {}
        for at in partitions:
            offset = committed.get(at)
            if offset is None:
                first, next_ = self._host.bounds_now(at)
                offset = first if self._start is Start.EARLIEST else next_
                began[at] = offset
            self._positions[at] = offset
        if began and self._start is Start.LATEST:
            # Where "latest" was is kept at once: a restart before the first commit must not skip what came meanwhile.
            await self._host.commit(self._group.name, began)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._wake.set()
