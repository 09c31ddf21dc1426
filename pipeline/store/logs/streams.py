"""One stream in memory: its labels, and its newest entries, those that are in no chunk yet."""

from collections import Counter
from collections.abc import Collection, Sequence

from pipeline.store.index import labels_of, search_text
from pipeline.store.logs.entry import Entry, level_of_labels
from pipeline.store.logs.requests import New
from pipeline.wire.remote_write import Labels

_NEVER_NS = -(1 << 62)


class Stream:
    """`head` is in the order in which entries came; `latest_ns` is the newest time of all its entries."""

    __slots__ = ("head", "id", "key", "latest_ns", "level", "sealed_until_ns", "segment", "text")

    def __init__(self, id: int, key: bytes) -> None:  # noqa: A002
        self.id = id
        self.key = key
        labels = labels_of(key)
        self.text = search_text("", labels)
        self.level = level_of_labels(labels)
        self.head: list[Entry] = []
        self.latest_ns = self.sealed_until_ns = _NEVER_NS
        self.segment = 0
        """The newest segment that has chunks of it."""

    @property
    def labels(self) -> Labels:
        """Return the labels, sorted by name."""
        return labels_of(self.key)

    def put(self, entries: Sequence[Entry]) -> None:
        """Keep entries in memory; their numbers are above those it has."""
        self.head.extend(entries)
        self.latest_ns = max(self.latest_ns, max(entry.time_ns for entry in entries))

    def count(self, times: Collection[int]) -> "Counter[New]":
        """Count the entries in memory with any of these times."""
        return Counter(New(e.time_ns, e.line, e.metadata) for e in self.head if e.time_ns in times)

    def seal(self, segment: int) -> None:
        """Let go of the entries in memory: chunks of that segment have them. Readers may still hold the list."""
        self.sealed_until_ns, self.segment = self.latest_ns, segment
        self.head = []
