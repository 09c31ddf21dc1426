"""Durations as Go's time.ParseDuration reads them, and so promtail and Loki: `1h30m`, `1.5s`, `250ms`."""

import re
from contextlib import suppress
from fractions import Fraction
from typing import Annotated, Final

from pydantic import BeforeValidator

from pipeline.config import parse_duration_s

_UNITS_NS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART: Final = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)


def parse_go_duration_ns(text: str) -> int:
    """Return nanoseconds; raises ValueError in Go's words."""
    sign, rest = (-1 if text[:1] == "-" else 1), text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total, at = Fraction(0), 0
    while at < len(rest):
        match = _PART.match(rest, at)
        if match is None or not (match[1] or match[2]):
            break
        number = Fraction(f"{match[1] or 0}.{match[2] or 0}")
        total += number * _UNITS_NS[match[3]]
        at = match.end()
    if not rest or at < len(rest):
        number_alone = re.fullmatch(r"[\d.]*\d", rest[at:], re.ASCII)
        what = "missing unit in duration" if number_alone else "invalid duration"
        raise ValueError(f'time: {what} "{text}"')
    nanoseconds = sign * int(total)
    if not -(2**63) <= nanoseconds < 2**63:
        raise ValueError(f'time: invalid duration "{text}"')
    return nanoseconds


def parse_go_duration_s(text: object) -> float:
    """Read a duration as Go (`1m30s`, `1.5s`) or Prometheus (`1d`) writes it, in seconds; raises ValueError."""
    if isinstance(text, str) and text[:1] not in ("+", "-"):
        with suppress(ValueError):
            return parse_go_duration_ns(text) / 1e9
    return parse_duration_s(text)


GoSeconds = Annotated[float, BeforeValidator(lambda v: v if isinstance(v, float) else parse_go_duration_s(v))]
"""A duration of a configuration, in seconds, none of them below zero."""
