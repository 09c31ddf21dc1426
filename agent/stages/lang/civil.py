"""From the fields of a time as people write it to Unix nanoseconds. Source: Go, time/format.go and time.Date."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

NS: Final = 1_000_000_000
LOCAL: Final = "Local"
"""The name by which Go's LoadLocation takes the machine's own zone."""

_DAYS_BEFORE: Final = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

Fields = Mapping[str, str | None]
"""What a layout's expression found, by the names of its groups."""


def local_zone() -> ZoneInfo | None:
    """Return the machine's zone as Go finds it: by `TZ`, else by /etc/localtime; None for UTC.

    Source: Go, time/zoneinfo_unix.go.
    """
    name = os.environ.get("TZ", "/etc/localtime").removeprefix(":")
    try:
        if not name.startswith("/"):
            return ZoneInfo(name) if name else None
        with Path(name).open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (KeyError, OSError, ValueError):
        return None


class Civil:
    """Times of one zone, which counts where a time names no offset; UTC by default."""

    def __init__(self, location: str | None) -> None:
        """Take a zone by its IANA name, or the machine's."""
        self._zone = (
            local_zone() if location == LOCAL else ZoneInfo(location) if location and location != "UTC" else None
        )

    def time_ns(self, fields: Fields) -> int:
        """Return the time in Unix nanoseconds; raises ValueError where there is no such time."""
        year = _year(fields)
        month, day = _month_and_day(fields, year)
        return self.at(year, month, day, fields)

    def at(self, year: int, month: int, day: int, fields: Fields) -> int:
        """Return the time on a day."""
        hour, minute, second = _hour(fields), _number(fields, "minute"), _number(fields, "second")
        if minute > 59 or second > 59:
            raise ValueError("minute or second out of range")
        seconds = days_from_civil(year, month, day) * 86_400 + (hour * 60 + minute) * 60 + second
        fraction = (fields.get("fraction") or "")[:9]
        return (seconds - self._offset_s(seconds, fields)) * NS + int(fraction.ljust(9, "0"))

    def _offset_s(self, seconds: int, fields: Fields) -> int:
        if offset := fields.get("offset"):
            digits = offset[1:].replace(":", "").ljust(6, "0")
            hours, minutes, rest = int(digits[:2]), int(digits[2:4]), int(digits[4:])
            if hours > 24 or minutes > 60 or rest > 60:
                raise ValueError("time zone offset out of range")
            return ((hours * 60 + minutes) * 60 + rest) * (-1 if offset[0] == "-" else 1)
        if abbreviation := fields.get("abbreviation"):
            return self._named_offset_s(abbreviation, seconds)
        if self._zone is None or "offset" in fields or "abbreviation" in fields:
            return 0
        # As Go does: by the zone that would be if the clock on the wall showed UTC, and once more from there.
        offset_s = _offset_at(self._zone, seconds)
        return _offset_at(self._zone, seconds - offset_s)

    def _named_offset_s(self, name: str, seconds: int) -> int:
        """Return the offset that an abbreviation has or had in this zone; one that it has not means nothing: 0."""
        if self._zone is not None:
            halves = (-_HALF_YEAR_S, _HALF_YEAR_S)
            for at_s in (seconds, *(base + half for base in (seconds, _RECENT_S) for half in halves)):
                if _moment(at_s).astimezone(self._zone).tzname() == name:
                    return _offset_at(self._zone, at_s)
        return 0


def in_year_of(fields: Fields, civil: Civil, now_ns: int) -> int:
    """Return a time without a year as that of this year; around New Year, of the year that makes it close to now."""
    if fields.get("year_day") is None:
        month, day = _month_and_day(fields, 0)
    else:
        month, day = _by_year_day(fields, 0)
    now = _moment(now_ns // NS)
    year = (
        now.year - 1 if (month, now.month) == (12, 1) else now.year + 1 if (month, now.month) == (1, 12) else now.year
    )
    if day == 29 and month == 2 and not _leap(year):
        month, day = 3, 1
    return civil.at(year, month, day, fields)


def days_from_civil(year: int, month: int, day: int) -> int:
    """Return the days from 1970-01-01 to a day of the Gregorian calendar, which begins with year 0 as Go has it."""
    before = year - 1
    leaps = before // 4 - before // 100 + before // 400
    days = _DAYS_BEFORE[month - 1] + (1 if month > 2 and _leap(year) else 0)
    return 365 * before + leaps + days + day - 719_163


def _offset_at(zone: ZoneInfo, seconds: int) -> int:
    offset = _moment(seconds).astimezone(zone).utcoffset()
    return round(offset.total_seconds()) if offset else 0


_HALF_YEAR_S, _RECENT_S = 183 * 86_400, days_from_civil(2020, 1, 1) * 86_400
_FIRST_S, _LAST_S = days_from_civil(2, 1, 1) * 86_400, days_from_civil(9999, 1, 1) * 86_400


def _moment(seconds: int) -> datetime:
    """Return a moment, for what a zone had then: before and after what datetime can hold, nothing changes."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST_S), _LAST_S), UTC)


def _number(fields: Fields, name: str) -> int:
    return int(fields.get(name) or 0)


def _year(fields: Fields) -> int:
    if short := fields.get("short_year"):
        return int(short) + (1900 if int(short) >= 69 else 2000)
    return _number(fields, "year")


def _hour(fields: Fields) -> int:
    if twelve := fields.get("hour12"):
        hour = int(twelve)
        if hour > 12:
            raise ValueError("hour out of range")
    else:
        hour = _number(fields, "hour")
        if hour > 23:
            raise ValueError("hour out of range")
    half = (fields.get("half") or "").upper()
    if half == "PM" and hour < 12:
        return hour + 12
    return 0 if half == "AM" and hour == 12 else hour


def _month_and_day(fields: Fields, year: int) -> tuple[int, int]:
    if fields.get("year_day") is not None:
        return _by_year_day(fields, year)
    month = _month(fields) or 1
    day = int(fields.get("day") or 1)
    if not 1 <= day <= _days_in(month, year):
        raise ValueError("day out of range")
    return month, day


def _month(fields: Fields) -> int | None:
    if name := fields.get("long_month") or fields.get("month_name"):
        return _MONTHS.index(name[:3].lower()) + 1
    if number := fields.get("month"):
        if not 1 <= int(number) <= 12:
            raise ValueError("month out of range")
        return int(number)
    return None


def _by_year_day(fields: Fields, year: int) -> tuple[int, int]:
    year_day = _number(fields, "year_day")
    for month in range(1, 13):
        days = _days_in(month, year)
        if 1 <= year_day <= days:
            if _month(fields) not in (None, month) or int(fields.get("day") or year_day) != year_day:
                raise ValueError("day-of-year does not match month and day")
            return month, year_day
        year_day -= days
    raise ValueError("day-of-year out of range")


def _days_in(month: int, year: int) -> int:
    if month == 2 and _leap(year):
        return 29
    return _DAYS_BEFORE[month] - _DAYS_BEFORE[month - 1]


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
