"""What every log promises. The contract suite in `tests/contracts/` says the same in executable form."""

from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from pipeline.errors import TransientError
from pipeline.wire.envelope import Headers


class Partition(NamedTuple):
    """One partition of one topic; `topic` carries the prefix."""

    topic: str
    number: int


class LogFullError(TransientError):
    """The log cannot take the record now: its bound in bytes is reached, or too much waits to be appended."""


class OffsetOutOfRangeError(TransientError):
    """The offset is not (any more) in partition `at`, of which the log keeps `start` and what follows."""

    def __init__(self, message: str, at: Partition, start: int) -> None:
        super().__init__(message)
        self.at = at
        self.start = start


class Record(NamedTuple):
    """One record as read. `append_time_ms` is the log's own clock (Unix milliseconds), not the sender's."""

    at: Partition
    offset: int
    append_time_ms: int
    key: bytes | None
    headers: Headers
    payload: bytes


def record_bytes(headers: Headers, payload: bytes, key: bytes | None) -> int:
    """Return what a record counts for wherever a log bounds bytes."""
    size = len(payload) + len(key or b"") + 5 * len(headers)
    for name, value in headers:
        size += len(name) + len(value)
    return size


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic should be like when the log has to create it. A compacted topic keeps the newest record of a key."""

    name: str
    partitions: int
    replication: int = 1
    min_in_sync: int = 1
    compacted: bool = False
    retention_bytes: int | None = None
    retention_s: float | None = None


class Start(Enum):
    """Where a group without a committed offset begins."""

    EARLIEST = "earliest"
    LATEST = "latest"


Appending = Awaitable[int]
"""Resolves to the record's offset once it is durable; raises TransientError or PermanentError when it is not."""


class Rebalance(Protocol):
    """Told by a consumer which partitions it gains and loses. Both are awaited before fetching goes on.

    With Kafka every rebalance revokes all partitions of a member before it assigns those that it has from then on. What
    a callback raises is raised by each `fetch` from then on: close the consumer and subscribe anew.
    """

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """These partitions are ours from now on; they begin at the committed offset unless this seeks."""

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """These partitions are about to be somebody else's: settle and commit what is in flight, then return."""


class Consumer(Protocol):
    """One member of a consumer group. `fetch` is called by one task; never commits by itself."""

    @property
    def rebalance_timeout_s(self) -> float:
        """How long `revoked` may take before the group goes on without this member."""

    async def fetch(self, *, max_bytes: int, timeout_s: float) -> Mapping[Partition, Sequence[Record]]:
        """Return records behind the last ones fetched, in offset order; an empty mapping after `timeout_s`.

        At least one record is returned where one is there, even one larger than `max_bytes`. Raises TransientError, and
        OffsetOutOfRangeError where retention has passed the position (then `seek`).
        """

    def pause(self, *partitions: Partition) -> None:
        """Leave these out of `fetch` until `resume`; membership in the group is kept up meanwhile."""

    def resume(self, *partitions: Partition) -> None:
        """Fetch these again, from where they were."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Fetch this partition from `offset` on."""

    async def committed(self, partition: Partition) -> int | None:
        """Return the group's committed offset (the next one to read), or None if there is none."""

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Make these the group's committed offsets, durably.

        Raises TransientError where it failed, and where one of the partitions is not ours (any more): nothing is
        committed then. Inside `revoked` the partitions still are ours.
        """

    async def close(self) -> None:
        """Leave the group; `revoked` is called first."""


class Log(Protocol):
    """Append to, and read from, partitions."""

    @property
    def max_record_bytes(self) -> int:
        """The most bytes that payload, key and headers of one record may have together, in every ensured topic."""

    async def start(self) -> None:
        """Connect; raises TransientError where the log cannot be reached, PermanentError where it refuses us."""

    async def close(self) -> None:
        """Finish what is being appended, within a deadline, and let go of everything."""

    async def ensure_topic(self, spec: TopicSpec) -> int:
        """Create the topic if it is not there and creating is allowed; return how many partitions it has."""

    async def append(self, at: Partition, headers: Headers, payload: bytes, *, key: bytes | None = None) -> Appending:
        """Put a record at the end of a partition.

        Awaiting this call fixes the record's place (two calls awaited one after the other are in that order); awaiting
        what it returns waits for durability. When one append of a partition fails, those already placed behind it fail
        too, so that nothing is appended past a gap. Raises LogFullError when too many bytes wait, or no room is left,
        and PermanentError when the record is larger than `max_record_bytes`; nothing was placed then. A caller that is
        cancelled while it waits for durability takes nothing back.
        """

    async def bounds(self, at: Partition) -> tuple[int, int]:
        """Return the first offset kept and the offset that the next record will get."""

    async def read(self, at: Partition, offset: int, *, max_bytes: int) -> Sequence[Record]:
        """Read records from `offset` on without a group; empty at the end. Raises OffsetOutOfRangeError."""

    async def offset_at(self, at: Partition, time_ms: int) -> int:
        """Return the first offset appended at or after `time_ms`; the end where there is none."""

    async def compacted(self, at: Partition) -> Mapping[bytes, bytes]:
        """Return the newest payload of every key of a compacted topic's partition (an empty payload deletes a key)."""

    async def committed(self, group: str, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Return a group's committed offsets where it has any, without joining it."""

    async def subscribe(
        self, group: str, topics: Collection[str], rebalance: Rebalance, *, start: Start = Start.EARLIEST
    ) -> Consumer:
        """Join a group that shares these topics' partitions among its members, in the background.

        The position of a group without a committed offset that starts LATEST is committed at once, so that a restart
        skips nothing. Raises PermanentError where there is no such topic.
        """
