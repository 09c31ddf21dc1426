"""Which series there are, in memory: by their encoded labels, by label and value, and by text.

Not thread-safe: the store holds its lock around every call.
"""

import bisect
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from pipeline.store.selector import NAME, Matcher, Operator
from pipeline.wire.remote_write import Labels, decode_series

HEAD_TIMES: Final = "q"
HEAD_VALUES: Final = "d"


class SeriesHead:
    """One series: its labels as encoded, and its newest samples, those that are not in a block yet.

    `times` (Unix milliseconds) ascends strictly; `sealed_until_ms` is the newest timestamp that blocks hold.
    """

    __slots__ = ("id", "key", "name", "sealed_until_ms", "text", "times", "values")

    def __init__(self, id: int, key: bytes) -> None:  # noqa: A002
        self.id = id
        self.key = key
        labels = labels_of(key)
        self.name = sys.intern(next((value for label, value in labels if label == NAME), ""))
        self.text = search_text(self.name, labels)
        self.times: array[int] = array(HEAD_TIMES)
        self.values: array[float] = array(HEAD_VALUES)
        self.sealed_until_ms = -(1 << 62)

    def put(self, timestamp_ms: int, value: bytes) -> bool:
        """Keep a sample (the eight bytes of its value) in memory; False where that timestamp is there already."""
        times = self.times
        if not times or timestamp_ms > times[-1]:
            times.append(timestamp_ms)
            self.values.frombytes(value)
            return True
        at = bisect.bisect_left(times, timestamp_ms)
        if times[at] == timestamp_ms:
            return False
        times.insert(at, timestamp_ms)
        # An array of doubles takes numbers, and a signalling NaN may not survive as one: splice bytes instead.
        self.values[at:at] = array(HEAD_VALUES, value)
        return True

    def seal(self) -> None:
        """Let go of the samples in memory: a block has them. Readers may still hold the arrays."""
        self.sealed_until_ms = max(self.sealed_until_ms, self.times[-1])
        self.times = array(HEAD_TIMES)
        self.values = array(HEAD_VALUES)

    @property
    def labels(self) -> Labels:
        """Return the labels, sorted by name."""
        return labels_of(self.key)


def labels_of(key: bytes) -> Labels:
    """Decode the labels of a key, as `encode_labels` made it."""
    out = []
    at, end = 0, len(key)
    while at < end:
        # Each label: 0x0A length 0x0A length name 0x12 length value. A start decodes every label of the store.
        value_at = at + 4 + key[at + 3]
        behind = at + 2 + key[at + 1]
        if key[at + 1] > 127:  # a length of more than one byte
            return decode_series(key, 0, end).labels
        out.append((key[at + 4 : value_at].decode(), key[value_at + 2 : behind].decode()))
        at = behind
    return tuple(out)


class Labelled(Protocol):
    """What an index finds: by its number, its encoded labels, and the text that a search looks through."""

    id: int
    key: bytes
    text: str

    @property
    def labels(self) -> Labels:
        """Return the labels, sorted by name."""


LabelledT = TypeVar("LabelledT", bound=Labelled)


@dataclass(slots=True)
class Index(Generic[LabelledT]):
    """Every series of a store; `bytes` is how long their keys are together."""

    by_key: dict[bytes, LabelledT] = field(default_factory=dict)
    by_id: dict[int, LabelledT] = field(default_factory=dict)
    bytes: int = 0
    _postings: dict[str, dict[str, set[int]]] = field(default_factory=dict)
    _sorted: list[LabelledT] = field(default_factory=list)
    _in_order: bool = True

    def add(self, series: LabelledT) -> None:
        """Take in a new series."""
        self.by_key[series.key] = series
        self.by_id[series.id] = series
        self.bytes += len(series.key)
        for name, value in series.labels:
            self._postings.setdefault(name, {}).setdefault(value, set()).add(series.id)
        self._sorted.append(series)
        self._in_order = False

    def remove(self, gone: Iterable[LabelledT]) -> None:
        """Forget series."""
        for series in gone:
            self._remove(series)
        self._sorted = [series for series in self._sorted if series.id in self.by_id]

    def _remove(self, series: LabelledT) -> None:
        del self.by_key[series.key], self.by_id[series.id]
        self.bytes -= len(series.key)
        for name, value in series.labels:
            values = self._postings[name]
            values[value].discard(series.id)
            if not values[value]:
                del values[value]
            if not values:
                del self._postings[name]

    def in_order(self) -> Sequence[LabelledT]:
        """Return every series, by name and then by the other labels."""
        if not self._in_order:
            self._sorted.sort(key=lambda series: series.text)
            self._in_order = True
        return self._sorted

    def search(self, text: str, matchers: Iterable[Matcher] = ()) -> list[LabelledT]:
        """Return the series whose labels contain every word of `text`, whatever its case, and satisfy `matchers`."""
        words = text.lower().split()
        matchers = tuple(matchers)
        found: Iterable[LabelledT] = self.in_order()
        if matchers:
            ids = self.select_ids(matchers)
            found = (series for series in found if series.id in ids)
        for word in words:
            found = [series for series in found if word in series.text]
        return list(found)

    def select(self, matchers: Iterable[Matcher]) -> list[LabelledT]:
        """Return the series that satisfy every matcher, in no order."""
        return [self.by_id[number] for number in self.select_ids(matchers)]

    def select_ids(self, matchers: Iterable[Matcher]) -> set[int]:
        """Return the ids of the series that satisfy every matcher."""
        chosen: set[int] | None = None
        # Equality narrows most and costs least: the others then only have to look at what is left.
        for matcher in sorted(matchers, key=lambda m: m.operator is not Operator.EQUAL):
            ids = self._matching(matcher)
            chosen = ids if chosen is None else chosen & ids
            if not chosen:
                return set()
        return set(self.by_id) if chosen is None else chosen

    def label_names(self, matchers: Iterable[Matcher] = ()) -> list[str]:
        """Return the names of labels that any series, or any that satisfies `matchers`, has; sorted."""
        matchers = tuple(matchers)
        if not matchers:
            return sorted(self._postings)
        return sorted({name for series in self.select(matchers) for name, _ in series.labels})

    def label_values(self, name: str, matchers: Iterable[Matcher] = ()) -> list[str]:
        """Return the values of one label, sorted."""
        values = self._postings.get(name, {})
        matchers = tuple(matchers)
        if not matchers:
            return sorted(values)
        ids = self.select_ids(matchers)
        return sorted(value for value, having in values.items() if not having.isdisjoint(ids))

    def _matching(self, matcher: Matcher) -> set[int]:
        values = self._postings.get(matcher.name, {})
        test = matcher.test()
        if not test(""):
            if matcher.operator is Operator.EQUAL:
                return values.get(matcher.value, set())
            return set().union(*(ids for value, ids in values.items() if test(value)))
        # The matcher also takes series without the label: leave out those that have it with another value.
        return set(self.by_id).difference(*(ids for value, ids in values.items() if not test(value)))


def search_text(name: str, labels: Labels) -> str:
    """Return what a search looks through: the name, then the other labels, in lower case."""
    return "\n".join([name, *(f"{label}={value}" for label, value in labels if label != NAME)]).lower()
