"""The embedded log's data base as the writer's jobs see it: plain functions inside the writer's transaction."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pipeline.errors import PermanentError
from pipeline.log.interface import Partition, TopicSpec
from pipeline.log.sqlite_schema import OFFSET_BITS, pack_headers
from pipeline.wire.envelope import Headers

# Rows are deleted this many at a time, so that deleting never holds appends up for long.
DELETE_CHUNK: Final = 64
# How long a deleted key of a compacted topic stays visible as an empty payload, as in Kafka.
TOMBSTONES_MS: Final = 86_400_000


@dataclass(slots=True)
class PartitionState:
    """What a partition's row holds; the writer's working copy."""

    id: int
    at: Partition
    first: int
    next: int
    items: int
    bytes: int
    last_ms: int
    # Everything below this offset has been deleted; between it and `first` rows may be left to delete.
    cleaned: int = 0

    @property
    def base(self) -> int:
        """The id of offset 0."""
        return self.id << OFFSET_BITS


@dataclass(slots=True)
class Store:
    """The data base as jobs see it, inside the writer's transaction."""

    db: sqlite3.Connection
    now_ms: Callable[[], int]
    topics: dict[str, TopicSpec] = field(default_factory=dict)
    partitions: dict[Partition, PartitionState] = field(default_factory=dict)
    touched: set[Partition] = field(default_factory=set)

    def load(self) -> None:
        """Read topics and partitions, forgetting what a rolled-back transaction had changed."""
        self.touched.clear()
        self.topics = {
            name: TopicSpec(
                name, partitions, compacted=bool(compacted), retention_bytes=retention_bytes, retention_s=retention_s
            )
            for name, partitions, compacted, retention_bytes, retention_s in self.db.execute("SELECT * FROM topic")
        }
        self.partitions = {}
        for row in self.db.execute("SELECT id, topic, number, first, next, items, bytes, last_ms FROM partition"):
            state = PartitionState(row[0], Partition(row[1], row[2]), *row[3:])
            self.partitions[state.at] = state

    def state(self, at: Partition) -> PartitionState:
        """Return a partition's state; raises PermanentError where there is no such partition."""
        found = self.partitions.get(at)
        if found is None:
            raise PermanentError(f"the log has no partition {at.number} of topic {at.topic}")
        return found

    def ensure_topic(self, spec: TopicSpec) -> int:
        """Create a topic, or give the one that is there its new retention; return its number of partitions."""
        known = self.topics.get(spec.name)
        if known is not None and known.compacted != spec.compacted:
            is_, asked = ("compacted", "kept whole") if known.compacted else ("kept whole", "compacted")
            raise PermanentError(f"topic {spec.name} is {is_}, but {asked} is asked for")
        kept = spec if known is None else replace(spec, partitions=known.partitions)
        row = (kept.name, kept.partitions, kept.compacted, kept.retention_bytes, kept.retention_s)
        self.db.execute("INSERT OR REPLACE INTO topic VALUES (?, ?, ?, ?, ?)", row)
        self.topics[kept.name] = kept
        for number in range(kept.partitions):
            at = Partition(kept.name, number)
            if at not in self.partitions:
                row_id = self.db.execute("INSERT INTO partition (topic, number) VALUES (?, ?)", at).lastrowid
                assert row_id is not None
                self.partitions[at] = PartitionState(row_id, at, 0, 0, 0, 0, 0)
            self.touched.add(at)
        return kept.partitions

    def append(
        self, at: Partition, key: bytes | None, headers: Headers, payload: bytes, *, items: int, numbered: bool
    ) -> int:
        """Put a record at a partition's end; return its offset. `numbered` stamps `sequence` and `lane_items`."""
        state = self.state(at)
        if numbered:
            headers = stamp(headers, sequence=state.next, lane_items=state.items)
        state.last_ms = max(state.last_ms, self.now_ms())
        offset = state.next
        state.bytes += self._insert(state, offset, state.last_ms, state.items, state.bytes, key, headers, payload)
        state.next += 1
        state.items += items
        self.touched.add(at)
        if self.topics[at.topic].compacted:
            assert key is not None
            self._supersede(state, key, state.base + offset)
        return offset

    def _insert(
        self,
        state: PartitionState,
        offset: int,
        time_ms: int,
        items_before: int,
        bytes_before: int,
        key: bytes | None,
        headers: Headers,
        payload: bytes,
    ) -> int:
        packed = pack_headers(headers)
        size = len(packed) + len(payload) + len(key or b"")
        self.db.execute(
            "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (state.base + offset, time_ms, items_before, bytes_before, size, key, packed, payload),
        )
        return size

    def _supersede(self, state: PartitionState, key: bytes, record: int) -> None:
        old = self.db.execute("SELECT id FROM newest WHERE partition = ? AND key = ?", (state.id, key)).fetchone()
        if old is not None:
            self.db.execute("DELETE FROM record WHERE id = ?", old)
        self.db.execute("INSERT OR REPLACE INTO newest VALUES (?, ?, ?)", (state.id, key, record))

    def update_state(self, updates: Mapping[bytes, bytes | None]) -> None:
        """Set keys of the key-value table; None deletes one."""
        for key, value in updates.items():
            if value is None:
                self.db.execute("DELETE FROM state WHERE key = ?", (key,))
            else:
                self.db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))

    def delete_before(self, at: Partition, offset: int) -> int:
        """Drop the records before an offset; return the first offset kept. The rows go in chunks, afterwards."""
        state = self.state(at)
        if offset > state.next:
            raise PermanentError(f"cannot delete up to {offset}: the partition ends at {state.next}")
        if offset > state.first:
            state.first = offset
            self.touched.add(at)
        return state.first

    def evict(self, at: Partition, first: int, last: int, headers: Headers) -> int:
        """Replace the records first..last by one gap record at `first`; return the items that went."""
        state = self.state(at)
        if not state.first <= first <= last < state.next:
            raise PermanentError(f"cannot evict {first} to {last} of {state.first} to {state.next - 1}")
        sql = "SELECT items_before, time_ms, bytes_before FROM record WHERE id = ?"
        begin = self.db.execute(sql, (state.base + first,)).fetchone()
        end = self.db.execute(sql, (state.base + last + 1,)).fetchone()
        if last + 1 == state.next:
            end = (state.items,)
        if begin is None or end is None:
            raise PermanentError(f"cannot evict {first} to {last}: one of the two lies inside an earlier gap")
        items = end[0] - begin[0]
        self.db.execute("DELETE FROM record WHERE id BETWEEN ? AND ?", (state.base + first, state.base + last))
        gap = stamp(headers, sequence=first, lane_items=begin[0], gap_to=last, items=items)
        self._insert(state, first, begin[1], begin[0], begin[2], None, gap, b"")
        self.touched.add(at)
        return int(items)

    def clean(self, most: int = DELETE_CHUNK) -> bool:
        """Delete rows that lie before their partition's first offset; return whether some are left."""
        for state in self.partitions.values():
            if state.cleaned >= state.first:
                continue
            lowest = self.db.execute("SELECT min(id) FROM record WHERE id >= ?", (state.base,)).fetchone()[0]
            end = state.base + state.first
            if lowest is not None and lowest < end:
                end = min(end, lowest + most)
                self.db.execute("DELETE FROM record WHERE id >= ? AND id < ?", (state.base, end))
            state.cleaned = end - state.base
            return True
        return False

    def discard_oldest(self, want_bytes: int) -> dict[Partition, int]:
        """Drop about `want_bytes` of the oldest records, compacted topics' aside; one chunk of one partition at most.

        Returns how many went of which partition: nothing where there is nothing left to drop.
        """
        heads = [
            (rows[0][1], at)
            for at, state in self.partitions.items()
            if not self.topics[at.topic].compacted and (rows := self._oldest(state, 1))
        ]
        if not heads:
            return {}
        _, at = min(heads)
        state, freed, upto = self.state(at), 0, 0
        for record, _, _, size in self._oldest(state, DELETE_CHUNK):
            if freed >= want_bytes:
                break
            freed, upto = freed + size, record - state.base + 1
        gone = upto - state.first
        self.delete_before(at, upto)
        return {at: gone}

    def expire(self) -> dict[Partition, int]:
        """Drop what the topics' retention no longer keeps, one chunk of a partition at most; return how many went."""
        gone: dict[Partition, int] = {}
        for at, state in self.partitions.items():
            topic = self.topics[at.topic]
            if topic.compacted:
                self._drop_tombstones(state)
                continue
            if topic.retention_s is None and topic.retention_bytes is None:
                continue
            upto = self._expired(state, topic)
            if upto > state.first:
                gone[at] = upto - state.first
                self.delete_before(at, upto)
        return gone

    def _expired(self, state: PartitionState, topic: TopicSpec) -> int:
        """Return the first offset that stays."""
        upto = state.first
        # Mostly nothing has expired, and the first record alone says so.
        for most in (1, DELETE_CHUNK):
            for record, time_ms, bytes_before, size in self._oldest(state, most):
                old = topic.retention_s is not None and time_ms < self.now_ms() - 1000 * topic.retention_s
                behind = state.bytes - bytes_before - size
                if not old and (topic.retention_bytes is None or behind < topic.retention_bytes):
                    return upto
                upto = record - state.base + 1
        return upto

    def _drop_tombstones(self, state: PartitionState) -> None:
        sql = (
            "SELECT record.id, record.key FROM newest JOIN record ON record.id = newest.id "
            "WHERE newest.partition = ? AND length(record.payload) = 0 AND record.time_ms < ? LIMIT ?"
        )
        rows = self.db.execute(sql, (state.id, self.now_ms() - TOMBSTONES_MS, DELETE_CHUNK)).fetchall()
        for record, key in rows:
            self.db.execute("DELETE FROM record WHERE id = ?", (record,))
            self.db.execute("DELETE FROM newest WHERE partition = ? AND key = ?", (state.id, key))

    def _oldest(self, state: PartitionState, most: int) -> list[tuple[int, int, int, int]]:
        """Return id, time, bytes before and size of a partition's oldest records."""
        sql = "SELECT id, time_ms, bytes_before, size FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        return self.db.execute(sql, (state.base + state.first, state.base + state.next, most)).fetchall()

    def commit_offsets(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """Write a group's committed offsets."""
        rows = [(group, at.topic, at.number, offset) for at, offset in offsets.items()]
        self.db.executemany("INSERT OR REPLACE INTO committed VALUES (?, ?, ?, ?)", rows)

    def flush(self) -> None:
        """Write the counters of every partition that changed, in the transaction that changed it."""
        touched = [self.partitions[at] for at in self.touched]
        sql = "UPDATE partition SET first = ?, next = ?, items = ?, bytes = ?, last_ms = ? WHERE id = ?"
        self.db.executemany(sql, [(s.first, s.next, s.items, s.bytes, s.last_ms, s.id) for s in touched])


def stamp(headers: Headers, **numbers: int) -> Headers:
    """Return headers with these numbers in place of what they had under the same names."""
    kept = tuple(pair for pair in headers if pair[0] not in numbers)
    return (*kept, *((name, b"%d" % value) for name, value in numbers.items()))
