"""Regular expressions of stages: RE2's, as in promtail, so that none can run for ever.

Lines are text in the pipeline and UTF-8 for RE2. Patterns are compiled for bytes: what is found is decoded again, and
nothing counts characters.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, cast

import re2

from pipeline.regex import compile_re2

Span = tuple[int, int]
"""Where a group is, in bytes; (-1, -1) where it took no part."""


_NAME: Final = re.compile(r"\(\?P?<(\w+)>")
_ANYWHERE: Final = re2._Anchor.UNANCHORED


def _compiled(pattern: str, *, captures: bool) -> Any:
    try:
        return compile_re2(pattern.encode(), captures=captures)
    except ValueError as error:
        raise ValueError(f"error parsing regexp: {error}: `{pattern}`") from error


class Regex:
    """One expression, ready to search in text."""

    __slots__ = ("_find", "_test", "named")

    def __init__(self, pattern: str) -> None:
        """Compile it; raises ValueError in RE2's words, and for a name that two groups have: RE2 tells of one."""
        names = _NAME.findall(pattern)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"error parsing regexp: duplicate group name `{twice}`: `{pattern}`")
        compiled = _compiled(pattern, captures=True)
        # RE2 itself below its Python wrapper, which takes as long again to make an object of what was found.
        self._find: Final = compiled._regexp.Match
        self._test: Final = _compiled(pattern, captures=False)._regexp.Match
        by_name = cast("dict[bytes, int]", compiled.groupindex)
        self.named: Final = tuple((name.decode(), index) for name, index in sorted(by_name.items(), key=lambda i: i[1]))

    def matches(self, text: str) -> bool:
        """Tell whether it is found anywhere."""
        data = text.encode("utf-8", "replace")
        return bool(self._test(_ANYWHERE, data, 0, len(data))[0][0] >= 0)

    def extract(self, text: str) -> dict[str, str] | None:
        """Return the first match's named groups, "" for those that took no part; None where there is no match."""
        data = text.encode("utf-8", "replace")
        spans = self._find(_ANYWHERE, data, 0, len(data))
        if spans[0][0] < 0:
            return None
        found = {}
        for name, index in self.named:
            start, end = spans[index]
            # A group without part is at -1 to -1, where there is nothing.
            found[name] = data[start:end].decode("utf-8", "replace")
        return found

    def spans(self, text: bytes) -> Iterator[tuple[Span, ...]]:
        """Yield each match that does not overlap the one before it: where it and its groups are.

        As in Go, an empty match directly behind a match does not count.
        """
        at, behind, end = 0, -1, len(text)
        while at <= end:
            spans = self._find(_ANYWHERE, text, at, end)
            start, stop = spans[0]
            if start < 0:
                return
            if start != stop or start != behind:
                yield spans
            at = behind = stop
            if start == stop:
                at += 1
                # The next character, not the next byte.
                while at < end and text[at] & 0xC0 == 0x80:
                    at += 1

    def replace(self, text: str, replacement: str, *, literal: bool = False) -> str:
        """Replace every match as Go's ReplaceAllString does: `$1`, `${name}` stand for groups, unless `literal`."""
        data, out, at = text.encode(), bytearray(), 0
        pieces = [replacement] if literal else list(_pieces(replacement))
        numbers = dict(self.named)
        for spans in self.spans(data):
            out += data[at : spans[0][0]]
            at = spans[0][1]
            for piece in pieces:
                if isinstance(piece, str):
                    out += piece.encode()
                else:
                    group = numbers.get(piece[0], -1) if not piece[0].isdecimal() else int(piece[0])
                    start, end = spans[group] if 0 <= group < len(spans) else (0, 0)
                    out += data[start:end] if start >= 0 else b""
        return (out + data[at:]).decode(errors="replace")


@lru_cache(maxsize=1024)
def compile_regex(pattern: str) -> Regex:
    """Compile an expression; raises ValueError in RE2's words."""
    return Regex(pattern)


def _pieces(replacement: str) -> Iterator[str | tuple[str]]:
    """Take Go's Expand syntax apart: text, and the names of groups in tuples."""
    at = 0
    while True:
        dollar = replacement.find("$", at)
        if dollar < 0 or dollar == len(replacement) - 1:
            yield replacement[at:]
            return
        yield replacement[at:dollar]
        if replacement[dollar + 1] == "$":
            yield "$"
            at = dollar + 2
            continue
        braced = replacement[dollar + 1] == "{"
        start = end = dollar + 1 + braced
        while end < len(replacement) and (replacement[end].isalnum() or replacement[end] == "_"):
            end += 1
        if end == start or (braced and replacement[end : end + 1] != "}"):
            # Malformed: Go takes the dollar sign as it stands.
            yield "$"
            at = dollar + 1
            continue
        yield (replacement[start:end],)
        at = end + braced
