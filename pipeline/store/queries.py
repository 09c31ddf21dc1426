"""What can be asked of the store. These functions block; the store calls them on its one reading thread."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.errors import PermanentError
from pipeline.store.engine import Engine
from pipeline.store.index import SeriesHead
from pipeline.store.reader import Reader
from pipeline.store.requests import Metadata
from pipeline.store.selector import Matcher
from pipeline.store.steps import at_steps, nice_step_ms, rates_at_steps, typical_step_ms
from pipeline.wire.remote_write import Labels, encode_labels

MAX_POINTS: Final = 2_000_000
_LEAD_MS: Final = 600_000
_EVER_MS: Final = 1 << 62

Select = Sequence[Matcher] | Sequence[int]
"""Which series: matchers, or ids that a search returned."""


@dataclass(frozen=True, slots=True)
class Found:
    """One series that a search found; `id` names it for as long as the store is open."""

    id: int
    labels: Labels


@dataclass(frozen=True, slots=True)
class Points:
    """One series at the steps of a range; None where it has no value."""

    id: int
    labels: Labels
    values: list[float | None]


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest sample of one series."""

    id: int
    labels: Labels
    timestamp_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Series at evenly spaced times (Unix milliseconds)."""

    step_ms: int
    steps: Sequence[int]
    series: list[Points]


@dataclass(frozen=True, slots=True)
class Summary:
    """How much the store holds; `earliest_ms` is the oldest timestamp in its blocks, None while there is none."""

    series: int
    samples: int
    stored_bytes: int
    earliest_ms: int | None


@dataclass(frozen=True, slots=True)
class Queries:
    """Answers from memory, under the engine's lock, and from blocks."""

    engine: Engine
    reader: Reader

    def search(self, text: str, matchers: Sequence[Matcher], limit: int) -> tuple[list[Found], int]:
        """Find series whose labels contain every word of `text`: the first ones by name, and how many there are."""
        with self.engine.lock:
            found = self.engine.index.search(text, matchers)
        return [Found(series.id, series.labels) for series in found[:limit]], len(found)

    def names(self, text: str, matchers: Sequence[Matcher]) -> dict[str, int]:
        """Return the metric names of the series that `search` finds, in order, and how many series each has."""
        with self.engine.lock:
            return dict(Counter(series.name for series in self.engine.index.search(text, matchers)))

    def find(self, labels: Labels) -> int | None:
        """Return the id of the series that has exactly these labels."""
        with self.engine.lock:
            series = self.engine.index.by_key.get(encode_labels(labels))
        return series.id if series is not None else None

    def label_names(self, selectors: Sequence[Sequence[Matcher]]) -> list[str]:
        """Return the label names of the series that any of the selectors selects; of all where there is none."""
        with self.engine.lock:
            index = self.engine.index
            return sorted({name for selector in selectors or [()] for name in index.label_names(selector)})

    def label_values(self, name: str, selectors: Sequence[Sequence[Matcher]]) -> list[str]:
        """Return the values of a label in the series that any of the selectors selects; in all where there is none."""
        with self.engine.lock:
            index = self.engine.index
            return sorted({value for selector in selectors or [()] for value in index.label_values(name, selector)})

    def series(self, selectors: Sequence[Sequence[Matcher]], limit: int | None) -> list[Found]:
        """Return the series that any of the selectors selects, by name."""
        with self.engine.lock:
            index = self.engine.index
            ids = set().union(*(index.select_ids(selector) for selector in selectors))
            found = [series for series in index.in_order() if series.id in ids]
        return [Found(series.id, series.labels) for series in found[:limit]]

    def at_steps(
        self, select: Select, steps: Sequence[int], rate_window_ms: int | None, lookback_ms: int
    ) -> list[Points]:
        """Return every selected series that has a value (or a rate a second) at any of the steps."""
        chosen = self._choose(select)
        if len(chosen) * len(steps) > MAX_POINTS:
            raise PermanentError(f"{len(chosen)} series at {len(steps)} steps are too much: ask for fewer")
        out = []
        for series, times, values in self.reader.samples(chosen, steps[0] - (rate_window_ms or lookback_ms), steps[-1]):
            if rate_window_ms is None:
                points = at_steps(times, values, steps, lookback_ms)
            else:
                points = rates_at_steps(times, values, steps, rate_window_ms)
            if any(point is not None for point in points):
                out.append(Points(series.id, series.labels, points))
        return out

    def chart(self, ids: Sequence[int], start_ms: int, end_ms: int, max_points: int, rate: bool) -> Chart:
        """Return series as a chart shows them; see `Store.chart`."""
        # The newest samples before the start count too: a line does not begin with a gap.
        found = list(self.reader.samples(self._choose(ids), start_ms - _LEAD_MS, end_ms)) if ids else []
        apart_ms = typical_step_ms([times for _, times, _ in found])
        step_ms = nice_step_ms(max(apart_ms, (end_ms - start_ms) // max(max_points, 1)))
        steps = range(-(-start_ms // step_ms) * step_ms, end_ms + 1, step_ms)
        reach_ms = max(4 * apart_ms, step_ms) + 1
        evaluate = rates_at_steps if rate else at_steps
        series = [Points(s.id, s.labels, evaluate(times, values, steps, reach_ms)) for s, times, values in found]
        return Chart(step_ms, steps, series)

    def latest(self, select: Select, since_ms: int) -> list[Latest]:
        """Return the newest sample since then of every selected series that did not end."""
        out = []
        for series, times, values in self.reader.samples(self._choose(select), since_ms, _EVER_MS):
            [value] = at_steps(times, values, [_EVER_MS], _EVER_MS)
            if value is not None:
                out.append(Latest(series.id, series.labels, times[-1], value))
        return out

    def samples(self, select: Select, start_ms: int, end_ms: int) -> dict[Labels, list[tuple[int, float]]]:
        """Return every sample as it was stored, staleness markers included (as NaN)."""
        found = self.reader.samples(self._choose(select), start_ms, end_ms)
        return {series.labels: list(zip(times, values, strict=True)) for series, times, values in found}

    def metadata(self) -> dict[str, Metadata]:
        """Return type, help and unit of every metric family that had any."""
        with self.engine.lock:
            return dict(self.engine.metadata)

    def summary(self) -> Summary:
        """Return how much there is."""
        with self.engine.lock:
            blocks = list(self.engine.blocks)
            series, unpacked = len(self.engine.index.by_id), self.engine.head_samples
        samples = unpacked + sum(block.samples for block in blocks)
        earliest_ms = min((block.earliest_ms for block in blocks), default=None)
        return Summary(series, samples, self.engine.stored_bytes, earliest_ms)

    def _choose(self, select: Iterable[Matcher] | Iterable[int]) -> list[SeriesHead]:
        numbers = [number for number in select if isinstance(number, int)]
        with self.engine.lock:
            index = self.engine.index
            if numbers:
                return [index.by_id[number] for number in numbers if number in index.by_id]
            return index.select(matcher for matcher in select if isinstance(matcher, Matcher))
