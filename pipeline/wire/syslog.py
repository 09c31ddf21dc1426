"""Syslog messages: RFC 5424, RFC 3164 and what devices make of them, each as it came in one frame.

What cannot be read is never refused: whatever follows the last part that could be is the message's text. Sources:
RFC 5424 section 6; RFC 3164 section 4; rsyslog's and syslog-ng's documentation for what senders do beyond them (ISO
timestamps, years, names left out).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

SEVERITIES: Final = ("emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug")
FACILITIES: Final = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "security", "console", "cron2"),
    *(f"local{number}" for number in range(8)),
)
_HIGHEST: Final = len(FACILITIES) * 8 - 1
_NIL: Final = "-"
_HOUR_NS: Final = 3_600_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_PRIORITY: Final = re.compile(r"<(\d{1,3})>")
_ISO: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
_HEADER: Final = re.compile(rf"1 (-|{_ISO}) (\S{{1,255}}) (\S{{1,48}}) (\S{{1,128}}) (\S{{1,32}})(?: |$)")
_NAME: Final = r'[^\s=\]"]{1,32}'
_PARAMETER: Final = re.compile(rf' +({_NAME})="((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ELEMENT: Final = re.compile(rf'\[({_NAME})((?: +{_NAME}="(?:[^"\\]|\\.)*+")*+) *\]', re.DOTALL)
_ESCAPED: Final = re.compile(r'\\(["\\\]])')

_OLD_TIME: Final = re.compile(
    r"(?:(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) {1,2}(\d{1,2}) (?:(\d{4}) )?(\d\d):(\d\d):(\d\d)(\.\d+)?"
    rf"|({_ISO}))(?::? |$)"
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HOST: Final = re.compile(r"([^\s:\[\]]{1,255}|[0-9a-fA-F:]{2,39}) ")
_TAG_ALONE: Final = re.compile(r"[^\s:\[\]<>]{1,64}(?:\[[^\]\s]{1,128}\])?:(?: |$)")
_TAG: Final = re.compile(r"([^\s:\[\]<>]{1,64})(?:\[([^\]\s]{1,128})\])?: ?")

Elements = Mapping[str, Mapping[str, str]]


class Message(NamedTuple):
    """One message; what is not in it is empty or None. `time_ns` is Unix nanoseconds."""

    text: str
    priority: int | None = None
    time_ns: int | None = None
    hostname: str = ""
    app_name: str = ""
    proc_id: str = ""
    msg_id: str = ""
    elements: Elements = {}  # noqa: RUF012 # nobody writes into it

    @property
    def severity(self) -> str:
        """Its severity's name; empty where it has no priority."""
        return "" if self.priority is None else SEVERITIES[self.priority & 7]

    @property
    def facility(self) -> str:
        """Its facility's name; empty where it has no priority."""
        return "" if self.priority is None else FACILITIES[self.priority >> 3]


def parse(frame: bytes, now_ns: int, *, old: bool = False, zone: tzinfo | None = None) -> Message:
    """Read one frame. `old`: every message is of RFC 3164, else those are that do not begin as RFC 5424 says.

    Times of RFC 3164 have no year and no zone: they are of the `zone` (the machine's own if None), and of the year that
    brings them nearest to `now_ns`. Bytes that are not UTF-8 become U+FFFD.
    """
    text = frame.decode(errors="replace").strip("\n\r\0")
    found = _PRIORITY.match(text)
    if found is None or (priority := int(found[1])) > _HIGHEST:
        return Message(text)
    header = None if old else _HEADER.match(text, found.end())
    if header is None:
        return _old(text, found.end(), priority, now_ns, zone)
    time, hostname, app_name, proc_id, msg_id = header.groups()
    elements, behind = _elements(text, header.end())
    return Message(
        text[behind:].removeprefix("\ufeff"),
        priority,
        None if time == _NIL else _iso_ns(time),
        "" if hostname == _NIL else hostname,
        "" if app_name == _NIL else app_name,
        "" if proc_id == _NIL else proc_id,
        "" if msg_id == _NIL else msg_id,
        elements,
    )


def _elements(text: str, at: int) -> tuple[Elements, int]:
    """Return the structured data that begins there, and where the text does."""
    if text.startswith("-", at):
        return {}, at + 2 if text.startswith("- ", at) else at + 1
    found: dict[str, dict[str, str]] = {}
    while (element := _ELEMENT.match(text, at)) is not None:
        parameters = found.setdefault(element[1], {})
        for name, value in _PARAMETER.findall(element[2]):
            parameters[name] = _ESCAPED.sub(r"\1", value) if "\\" in value else value
        at = element.end()
    return found, at + 1 if found and text.startswith(" ", at) else at


def _iso_ns(text: str) -> int | None:
    try:
        return _unix_ns(datetime.fromisoformat(text))
    except ValueError:
        return None


def _unix_ns(at: datetime) -> int:
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def _old(text: str, at: int, priority: int, now_ns: int, zone: tzinfo | None) -> Message:
    time_ns, hostname, app_name, proc_id = None, "", "", ""
    if (time := _OLD_TIME.match(text, at)) is not None:
        time_ns, at = _old_time_ns(time, now_ns, zone), time.end()
        # Senders on the same machine leave the name out: then the tag stands here, which ends with a colon.
        if _TAG_ALONE.match(text, at) is None and (host := _HOST.match(text, at)) is not None:
            hostname, at = host[1], host.end()
    if (tag := _TAG.match(text, at)) is not None:
        app_name, proc_id, at = tag[1], tag[2] or "", tag.end()
    return Message(text[at:], priority, time_ns, hostname, app_name, proc_id)


def _old_time_ns(found: re.Match[str], now_ns: int, zone: tzinfo | None) -> int | None:
    month, day, year, hour, minute, second, fraction, iso = found.groups()
    if iso is not None:
        return _iso_ns(iso)
    when = (int(year or 0), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
    whole_ns = _nearest_ns(when, now_ns // _HOUR_NS, zone)
    return None if whole_ns is None else whole_ns + int((fraction or ".0")[1:10].ljust(9, "0"))


@lru_cache(maxsize=1024)
def _nearest_ns(when: tuple[int, int, int, int, int, int], now_hour: int, zone: tzinfo | None) -> int | None:
    """Return the time (year, 0 if unknown, to second) in Unix nanoseconds; None where there is no such day."""
    now = _EPOCH + timedelta(hours=now_hour)
    best: datetime | None = None
    for year in (when[0],) if when[0] else (now.year - 1, now.year, now.year + 1):
        try:
            at = datetime(year, *when[1:], tzinfo=zone).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            continue
        if best is None or abs(at - now) < abs(best - now):
            best = at
    return None if best is None else _unix_ns(best)
