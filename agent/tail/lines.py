"""From what was read of a file to whole lines: a pure function, which never looks at a single line in Python."""

from dataclasses import dataclass
from typing import Final

from agent.tail.text import Text

_CONTINUES_LOW: Final = 0x80
_CONTINUES_HIGH: Final = 0xC0
_LONGEST_CHARACTER: Final = 4


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines, each ended by a newline, still in the file's encoding; `consumed` bytes of the file became them.

    `cut` lines were cut at the limit, `dropped` ones left out for being longer; `skipping`: the end of what was
    consumed is inside such a line.
    """

    block: bytes
    consumed: int
    skipping: bool = False
    cut: int = 0
    dropped: int = 0


def take_lines(
    data: bytearray, filled: int, text: Text, *, max_bytes: int, keep_start: bool, skipping: bool = False
) -> Lines:
    """Return the whole lines among the first `filled` bytes of `data`, which begins where a line does.

    With `skipping` it begins inside a line that was too long. A last line without its newline stays in the file while
    it may still become a line of at most `max_bytes`.
    """
    newline, start = len(text.newline), 0
    if skipping:
        end = text.find(data, 0, filled)
        if end < 0:
            return Lines(b"", filled - filled % newline, skipping=True)
        start = end + newline
    last = text.rfind(data, start, filled)
    behind = last + newline if last >= 0 else start
    too_long = _Long(data, text, max_bytes, keep_start)
    block = too_long.without(start, behind)
    if filled - behind <= max_bytes:
        return Lines(block, behind, cut=too_long.cut, dropped=too_long.dropped)
    block += too_long.start_of(behind)
    return Lines(block, filled - filled % newline, skipping=True, cut=too_long.cut, dropped=too_long.dropped)


@dataclass(slots=True)
class _Long:
    """Finds lines that are too long by looking back from where one that begins here would have to end."""

    data: bytearray
    text: Text
    max_bytes: int
    keep_start: bool
    cut: int = 0
    dropped: int = 0

    def without(self, start: int, behind: int) -> bytes:
        """Return the whole lines between two places, those cut or dropped that are too long."""
        newline, at, begin, kept = len(self.text.newline), start, start, list[bytes]()
        while behind - at > self.max_bytes + newline:
            end = self.text.rfind(self.data, at, at + self.max_bytes + newline)
            if end < 0:
                kept += [bytes(memoryview(self.data)[begin:at]), self.start_of(at)]
                end = self.text.find(self.data, at + self.max_bytes, behind)
                begin = end + newline
            at = end + newline
        last = bytes(memoryview(self.data)[begin:behind])
        return b"".join((*kept, last)) if kept else last

    def start_of(self, at: int) -> bytes:
        """Return the part that is kept of a long line that begins there, as a line."""
        if not self.keep_start:
            self.dropped += 1
            return b""
        self.cut += 1
        end = at + self.max_bytes - self.max_bytes % len(self.text.newline)
        return bytes(self.data[at : self._character(at, end)]) + self.text.newline

    def _character(self, at: int, end: int) -> int:
        """Return where the last whole character before `end` ends, in UTF-8 and what looks like it."""
        if len(self.text.newline) > 1:
            return end
        begin = end
        while begin > at and end - begin < _LONGEST_CHARACTER and _CONTINUES_LOW <= self.data[begin] < _CONTINUES_HIGH:
            begin -= 1
        return begin if end - begin < _LONGEST_CHARACTER else end
