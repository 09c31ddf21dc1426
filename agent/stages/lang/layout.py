"""Go's time layouts (`2006-01-02 15:04:05.000`), as promtail's timestamp stage takes them.

A layout becomes a regular expression of bounded parts, so that parsing takes a time linear in the text's length.
Source: Go, time/format.go; promtail, clients/pkg/logentry/stages/util.go. Times are Unix nanoseconds.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from agent.stages.lang.civil import NS, Civil, in_year_of

ParseTime = Callable[[str, int], int]
"""Read a text as Unix nanoseconds; the time it is now (Unix nanoseconds) gives the year that a layout may lack.

Raises ValueError where the text does not fit.
"""

NAMED: Final = {
    "ANSIC": "Mon Jan _2 15:04:05 2006",
    "UnixDate": "Mon Jan _2 15:04:05 MST 2006",
    "RubyDate": "Mon Jan 02 15:04:05 -0700 2006",
    "RFC822": "02 Jan 06 15:04 MST",
    "RFC822Z": "02 Jan 06 15:04 -0700",
    "RFC850": "Monday, 02-Jan-06 15:04:05 MST",
    "RFC1123": "Mon, 02 Jan 2006 15:04:05 MST",
    "RFC1123Z": "Mon, 02 Jan 2006 15:04:05 -0700",
    "RFC3339": "2006-01-02T15:04:05Z07:00",
    "RFC3339Nano": "2006-01-02T15:04:05.999999999Z07:00",
}
UNIX_NS: Final = {"UnixMs": 10**6, "UnixUs": 10**3, "UnixNs": 1}

_LONG_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_LONG_DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def _one_of(group: str, names: Iterable[str]) -> str:
    return f"(?P<{group}>(?i:{'|'.join(names)}))"


_ZONE: Final = (
    r"(?P<abbreviation>ChST|MeST|GMT(?:[+-]\d{1,2}+)?|[A-Z]{3,4}T(?![A-Z])|[A-Z]{3}(?![A-Z])|WITA|[+-]\d\d(?!\d))"
)
_OFFSETS: Final = {
    "070000": r"\d\d\d\d\d\d",
    "07:00:00": r"\d\d:\d\d:\d\d",
    "0700": r"\d\d\d\d",
    "07:00": r"\d\d:\d\d",
    "07": r"\d\d",
}
# What stands for what, longest first where one begins another; a name that a lower-case letter follows is none.
_CHUNKS: Final = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|002|0[1-6]|15|1|2006|2|_2006|_2|__2|3|4|5|PM|pm"
    r"|[-Z](?:070000|07:00:00|0700|07:00|07)|[.,](?:0+|9+)(?!\d)"
)
_PATTERNS: Final = {
    "January": _one_of("long_month", _LONG_MONTHS),
    "Jan": _one_of("month_name", [name[:3] for name in _LONG_MONTHS]),
    "Monday": f"(?i:{'|'.join(_LONG_DAYS)})",
    "Mon": f"(?i:{'|'.join(name[:3] for name in _LONG_DAYS)})",
    "MST": f"(?:UTC|{_ZONE})",
    "01": r"(?P<month>\d\d)",
    "1": r"(?P<month>\d{1,2}+)",
    "02": r"(?P<day>\d\d)",
    "2": r"(?P<day>\d{1,2}+)",
    "_2": r" ?(?P<day>\d{1,2}+)",
    "002": r"(?P<year_day>\d\d\d)",
    "__2": r" {0,2}(?P<year_day>\d{1,3}+)",
    "03": r"(?P<hour12>\d\d)",
    "3": r"(?P<hour12>\d{1,2}+)",
    "15": r"(?P<hour>\d{1,2}+)",
    "04": r"(?P<minute>\d\d)",
    "4": r"(?P<minute>\d{1,2}+)",
    "06": r"(?P<short_year>\d\d)",
    "2006": r"(?P<year>\d{4})",
    "_2006": r"_(?P<year>\d{4})",
    "PM": "(?P<half>AM|PM)",
    "pm": "(?P<half>am|pm)",
}
# Seconds may have a fraction that the layout does not name.
_SECONDS: Final = {"05": r"(?P<second>\d\d)", "5": r"(?P<second>\d{1,2}+)"}


def _expression(layout: str) -> re.Pattern[str]:
    parts, at = list[str](), 0
    chunks = list(_CHUNKS.finditer(layout))
    for number, chunk in enumerate(chunks, 1):
        follows = chunks[number][0][0] if number < len(chunks) else ""
        parts += _literal(layout[at : chunk.start()]), _pattern(chunk[0], follows)
        at = chunk.end()
    # What stands twice is read twice, and the last one counts.
    seen: set[str] = set()
    for index in reversed(range(len(parts))):
        parts[index] = _GROUP.sub(lambda group: "(?:" if group[1] in seen else group[0], parts[index])
        seen.update(_GROUP.findall(parts[index]))
    return re.compile("".join(parts) + _literal(layout[at:]), re.ASCII)


_GROUP: Final = re.compile(r"\(\?P<(\w+)>")


def _pattern(chunk: str, follows: str) -> str:
    if chunk[0] in ".,":
        return rf"[.,](?P<fraction>\d{{{len(chunk) - 1}}})" if chunk[1] == "0" else r"(?:[.,](?P<fraction>\d++))?"
    if chunk in _SECONDS:
        return _SECONDS[chunk] + ("" if follows in (".", ",") else r"(?:[.,](?P<fraction>\d++))?")
    if chunk[1:] in _OFFSETS and chunk[0] in "-Z":
        return ("(?:Z|" if chunk[0] == "Z" else "(?:") + rf"(?P<offset>[+-]{_OFFSETS[chunk[1:]]}))"
    return _PATTERNS[chunk]


def _literal(text: str) -> str:
    # Any run of spaces stands for any other, and for none at the text's end.
    return "".join(r"(?: ++|\Z)" if part.isspace() and part else re.escape(part) for part in re.split(r"( +)", text))


@lru_cache(maxsize=1024)
def compile_layout(layout: str, location: str | None = None) -> ParseTime:
    """Make a layout, or the name of one, ready to read times; `location` is the zone of those that name none."""
    if layout == "Unix":
        return _unix
    if layout in UNIX_NS:
        unit_ns = UNIX_NS[layout]
        return lambda text, now_ns: _int64(text) * unit_ns
    named = NAMED.get(layout)
    if named is not None and layout.startswith("RFC3339"):
        return _rfc3339(_plain(named, None))
    return _plain(named or layout, None if named else location)


def _plain(layout: str, location: str | None) -> ParseTime:
    expression = _expression(layout)
    civil = Civil(location)
    yearless = "06" not in layout

    def parse(text: str, now_ns: int) -> int:
        found = expression.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} does not fit the layout {layout!r}")
        fields = found.groupdict()
        return in_year_of(fields, civil, now_ns) if yearless else civil.time_ns(fields)

    return parse


_TAIL: Final = re.compile(r"(?:[.,](\d+))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII)
_MAX_PREFIXES: Final = 4096


def _rfc3339(parse: ParseTime) -> ParseTime:
    """Keep what texts begin with, to the second: lines that follow one another share it."""
    prefixes: dict[str, int] = {}

    def parse_rfc3339(text: str, now_ns: int) -> int:
        seconds_ns = prefixes.get(text[:19])
        tail = _TAIL.fullmatch(text, 19)
        if tail is None:
            return parse(text, now_ns)
        if seconds_ns is None:
            seconds_ns = parse(text[:19] + "Z", now_ns)
            if len(prefixes) >= _MAX_PREFIXES:
                prefixes.clear()
            prefixes[text[:19]] = seconds_ns
        fraction, sign, hours, minutes = tail.groups()
        if fraction:
            seconds_ns += int(fraction[:9].ljust(9, "0"))
        if sign:
            offset_ns = (int(hours) * 60 + int(minutes)) * 60 * NS
            return seconds_ns - offset_ns if sign == "+" else seconds_ns + offset_ns
        return seconds_ns

    return parse_rfc3339


def _int64(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,40}", text, re.ASCII):
        raise ValueError(f"{text!r} is not a number")
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{text} is out of range")
    return number


def _unix(text: str, now_ns: int) -> int:
    seconds, dot, fraction = text.partition(".")
    if not dot or "." in fraction:
        return _int64(text) * NS
    return _int64(seconds) * NS + int(_int64(fraction) * 10.0 ** (9 - len(fraction)))
