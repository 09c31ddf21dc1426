"""The series that a target's pages have shown: their encoded labels, their values, and the lines that show them."""

from array import array
from collections.abc import Callable
from typing import Final

from agent.scrape.stems import StemStore
from agent.scrape.table import TableOptions
from agent.scrape.timed import Timed
from pipeline.wire.exposition import Format
from pipeline.wire.remote_write import STALE_NAN, Labels

COMMENT: Final = -1
DROPPED: Final = -2
DUPLICATE: Final = -3
FIRST_TIMED: Final = -16
"""What a line may be beside an ordinary series: those are numbered from 0, timed ones from FIRST_TIMED downwards."""


class KnownSeries:
    """What is known of the last page: `slots` says of each line which series it shows, or what else it is.

    `key_bytes` is how much of each line names its series. `stems` hold the ordinary series with their values, and
    `line_of_stem` and `live`, by the same numbers, the line of each and whether it has not ended. `timed` are those
    whose samples carry timestamps of their own. The counts are of the page's lines.
    """

    def __init__(self, encode: Callable[[Labels], bytes | None], options: TableOptions, stems: StemStore) -> None:
        self.encode = encode
        self.options = options
        self.format = Format.TEXT
        self.key_bytes = array("I")
        self.slots = array("i")
        self.stems = stems
        self.line_of_stem = array("i")
        self.live = bytearray()
        self.timed: dict[int, Timed] = {}
        self.samples = self.dropped = self.duplicates = 0
        self.unsure = False
        """After a page that was refused half-way, stems may hold its values: the next good page reads every value."""
        self._next_timed = FIRST_TIMED
        self._by_head: dict[int, int] = {}

    def marker(self, slot: int) -> bytes:
        """Return the value that ends a series: of text, all have numbers."""
        return STALE_NAN

    def find(self, head: bytes) -> int:
        """Return the stem or timed series with these labels, or COMMENT where there is none."""
        slot = self._by_head.get(hash(head), COMMENT)
        if slot == COMMENT or (self.stems.head(slot) if slot >= 0 else self.timed[slot].head) != head:
            return COMMENT
        return slot

    def add(self, head: bytes, value: bytes, line: int, timed: Timed | None) -> int:
        """Add a series, ordinary with its value or timed; return its number."""
        if timed is not None:
            slot = self._next_timed
            self._next_timed -= 1
            self.timed[slot] = timed
        else:
            slot = len(self.stems)
            self.stems.append(head, value)
            self.line_of_stem.append(line)
            self.live.append(1)
        self._by_head.setdefault(hash(head), slot)
        return slot

    def answer_to(self, head: bytes, slot: int) -> None:
        """Let `find` return this series for these labels."""
        self._by_head[hash(head)] = slot

    def remove(self, slot: int) -> bytes:
        """Take a series out; return its labels. The last stem takes a stem's place, and its line is told."""
        if slot <= FIRST_TIMED:
            head = self.timed.pop(slot).head
            self._forget(head, slot)
            return head
        head = self.stems.head(slot)
        self._forget(head, slot)
        last = len(self.stems) - 1
        if slot != last:
            moved = self.stems.head(last)
            if self._by_head.get(hash(moved)) == last:
                self._by_head[hash(moved)] = slot
            self.live[slot] = self.live[last]
            self.line_of_stem[slot] = self.line_of_stem[last]
            self.slots[self.line_of_stem[last]] = slot
        self.stems.drop(slot)
        self.line_of_stem.pop()
        self.live.pop()
        return head

    def _forget(self, head: bytes, slot: int) -> None:
        if self._by_head.get(hash(head)) == slot:
            del self._by_head[hash(head)]
