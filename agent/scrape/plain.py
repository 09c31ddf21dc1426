"""The page cache in plain Python (DESIGN, "Scraping cheaply").

Lines are compared with those of the last page in one C-level pass. A line whose series did not change costs a float; a
series' labels are encoded when it is first seen. The samples of a scrape share one timestamp, so that a request is
`suffix.join(stems)`: a stem is a TimeSeries up to and including its sample's value.
"""

import math
from array import array
from collections.abc import Callable, Generator, Iterator
from itertools import compress
from operator import ne
from typing import NoReturn

from agent.scrape.labelling import size_prefix
from agent.scrape.restructure import COMMENT, DROPPED, FIRST_TIMED, TAIL, Restructuring, cut_end, see_timed
from agent.scrape.table import PageError, Reading, Steps, TableOptions, Timed
from pipeline.wire import snappy
from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition import End, Format, Lines, Sample, UnterminatedError
from pipeline.wire.protobuf import encode_varint
from pipeline.wire.remote_write import Labels, pack_double

SLICE_BYTES = 4 << 20
SLICE_LINES = 50_000
SLICE_CHANGES = 5_000

_SAMPLE = b"\x12\x10\x09"
"""What stands between labels and value: a sample of 16 bytes, its value first."""
_STEM_TAIL = len(_SAMPLE) + 8
_SUFFIX_BYTES = 7


class PlainTable:
    """See `agent.scrape.table.Table`."""

    def __init__(self, encode: Callable[[Labels], bytes | None], options: TableOptions) -> None:
        self.encode = encode
        self.options = options
        self.format = Format.TEXT
        self.lines: list[bytes] = []
        self.key_bytes = array("I")
        self.slots = array("i")
        self.stems: list[bytes] = []
        self.line_of_stem = array("i")
        self.live = bytearray()
        self.timed: dict[int, Timed] = {}
        self._next_timed = FIRST_TIMED
        self._by_head: dict[int, int] = {}
        self.samples = self.dropped = self.duplicates = 0
        self._stem_bytes = 0
        self.unsure = False
        """After a page that was refused half-way, stems may hold its values: the next good page reads every value."""

    # ── reading ──

    def read(self, body: bytes, page_format: Format, reading: Reading) -> Steps:
        """Take in a page."""
        lines: list[bytes] = []
        yield from _split(body, lines)
        del body
        problem = cut_end(lines, page_format)
        if problem is None and page_format is self.format and len(lines) == len(self.lines):
            steady = yield from self._read_steady(lines, reading)
            if steady:
                self._finish(lines, reading)
                return
            reading.restart()
        yield from Restructuring(self, lines, page_format, reading).run(problem)
        self._finish(lines, reading)

    def _finish(self, lines: list[bytes], reading: Reading) -> None:
        self.lines = lines
        self.unsure = False
        reading.scraped = self.samples
        reading.kept = self.samples - self.dropped
        reading.duplicates += self.duplicates
        reading.settle_timed(self.options.track_timestamps_staleness)
        if 0 in self.live:
            self.live = bytearray(b"\1") * len(self.stems)

    def _read_steady(self, lines: list[bytes], reading: Reading) -> Generator[None, None, bool]:
        """Read a page whose lines show the same series as before; return False where it turns out to show others."""
        reader = Lines(self.format)
        tail = TAIL[self.format]
        old, slots, key_bytes, stems = self.lines, self.slots, self.key_bytes, self.stems
        for start in range(0, len(lines), SLICE_LINES):
            end = start + SLICE_LINES
            changed: Iterator[int] = iter(range(start, min(end, len(lines))))
            if not self.unsure:
                changed = compress(changed, map(ne, old[start:end], lines[start:end]))
            for count, i in enumerate(changed):
                if count % SLICE_CHANGES == SLICE_CHANGES - 1:
                    yield
                line, size, slot = lines[i], key_bytes[i], slots[i]
                if slot >= 0 and line[:size] == old[i][:size] and (found := tail(line, size)) is not None:
                    number = float(found[1])
                    if not math.isinf(number):
                        stems[slot] = stems[slot][:-8] + pack_double(number)
                        continue
                if not self._change(reader, i, line, reading):
                    return False
            yield
        return True

    def _change(self, reader: Lines, i: int, line: bytes, reading: Reading) -> bool:
        """Read a changed line in full; return False if it is not the same series, or not in the same way."""
        slot, key = self.slots[i], self.lines[i][: self.key_bytes[i]]
        try:
            entry = reader.read(line)
        except UnterminatedError:
            return False
        except MalformedError as error:
            self._refuse(f"line {i + 1}: {error}", reading, i)
        if not isinstance(entry, Sample):
            reading.metadata_changed = True
            return slot == COMMENT and not isinstance(entry, End)
        timestamp_ms = entry.timestamp_ms if self.options.honor_timestamps else None
        if slot == COMMENT or entry.series != key:
            return False
        if slot <= FIRST_TIMED:
            if timestamp_ms is None:
                return False
            see_timed(self.timed[slot], entry, timestamp_ms, reading)
            return True
        if timestamp_ms is not None:
            return slot == DROPPED
        if slot >= 0:
            self.stems[slot] = self.stems[slot][:-8] + entry.value
            if entry.exemplar is not None:
                reading.exemplars.append((self.head(slot), entry.exemplar, reading.at_ms))
        return True

    # ── refusing ──

    def _refuse(self, reason: str, reading: Reading, seen_lines: int) -> NoReturn:
        """Refuse a page that has the lines of the last one, at line `seen_lines`."""
        seen = self.slots[:seen_lines]
        reading.scraped = sum(slot != COMMENT for slot in seen)
        reading.kept = reading.scraped - sum(slot == DROPPED for slot in seen)
        self.end_unseen({slot for slot in seen if slot >= 0 or slot <= FIRST_TIMED}, reading)
        raise PageError(reason, reading)

    def end_unseen(self, seen: set[int], reading: Reading) -> None:
        """End the live series that a refused page had not shown."""
        self.unsure = True
        reading.pending.clear()
        reading.exemplars.clear()
        for slot, live in enumerate(self.live):
            if live and slot not in seen:
                reading.end(self.head(slot))
            self.live[slot] = slot in seen
        for slot, timed in self.timed.items():
            if timed.live and slot not in seen:
                reading.end(timed.head)
                timed.live, timed.last_ms = False, max(timed.last_ms, reading.at_ms)

    def end_all(self, reading: Reading) -> Steps:
        """End every series that is live."""
        self.end_unseen(set(), reading)
        yield

    # ── encoding ──

    def requests(self, at_ms: int, max_samples: int, max_bytes: int) -> Iterator[tuple[bytes, int, int]]:
        """Encode the ordinary samples."""
        if not self.stems:
            return
        suffix = b"\x10" + encode_varint(at_ms)
        if len(suffix) != _SUFFIX_BYTES:
            raise ValueError(f"a scrape's time lies between 1971 and 2109, not at {at_ms} ms")
        mean_bytes = self._stem_bytes // len(self.stems) + _SUFFIX_BYTES
        size = max(1, min(max_samples, max_bytes // mean_bytes))
        for start in range(0, len(self.stems), size):
            stems = self.stems[start : start + size]
            raw = suffix.join([*stems, b""])
            yield snappy.compress(raw), len(stems), len(raw)

    def knows(self, head: bytes) -> bool:
        """Tell whether there is an ordinary series with these labels."""
        return self.find(head) >= 0

    def metadata_lines(self) -> Iterator[bytes]:
        """Return the comment lines."""
        return (line for line, slot in zip(self.lines, self.slots, strict=True) if slot == COMMENT and line)

    # ── series, by their labels ──

    def head(self, slot: int) -> bytes:
        """Return the encoded labels of an ordinary series."""
        stem = self.stems[slot]
        at = 2
        while stem[at - 1] > 127:
            at += 1
        return stem[at:-_STEM_TAIL]

    def find(self, head: bytes) -> int:
        """Return the stem or timed series with these labels, or COMMENT where there is none."""
        slot = self._by_head.get(hash(head), COMMENT)
        if slot == COMMENT or (self.head(slot) if slot >= 0 else self.timed[slot].head) != head:
            return COMMENT
        return slot

    def add(self, head: bytes, value: bytes | None, line: int, timed: Timed | None) -> int:
        """Add a series, ordinary with a value or timed; return its number."""
        if timed is not None:
            slot = self._next_timed
            self._next_timed -= 1
            self.timed[slot] = timed
        else:
            assert value is not None
            slot = len(self.stems)
            stem = size_prefix(len(head) + _STEM_TAIL + _SUFFIX_BYTES) + head + _SAMPLE + value
            self.stems.append(stem)
            self.line_of_stem.append(line)
            self.live.append(1)
            self._stem_bytes += len(stem)
        self._by_head.setdefault(hash(head), slot)
        return slot

    def remove(self, slot: int) -> bytes:
        """Take a series out; return its labels. The last stem takes a stem's place, and its line is told."""
        if slot <= FIRST_TIMED:
            head = self.timed.pop(slot).head
            self._forget(head, slot)
            return head
        head = self.head(slot)
        self._forget(head, slot)
        self._stem_bytes -= len(self.stems[slot])
        last = len(self.stems) - 1
        if slot != last:
            moved = self.head(last)
            if self._by_head.get(hash(moved)) == last:
                self._by_head[hash(moved)] = slot
            self.stems[slot], self.live[slot] = self.stems[last], self.live[last]
            self.line_of_stem[slot] = self.line_of_stem[last]
            self.slots[self.line_of_stem[last]] = slot
        self.stems.pop()
        self.line_of_stem.pop()
        self.live.pop()
        return head

    def _forget(self, head: bytes, slot: int) -> None:
        if self._by_head.get(hash(head)) == slot:
            del self._by_head[hash(head)]


def _split(body: bytes, lines: list[bytes]) -> Steps:
    """Split a page into its lines, a few megabytes at a time."""
    start = 0
    while (end := body.find(b"\n", start + SLICE_BYTES)) >= 0:
        lines += body[start:end].split(b"\n")
        start = end + 1
        yield
    lines += body[start:].split(b"\n")
