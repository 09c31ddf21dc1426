"""Values that stages extract, as text and as numbers. Source: promtail, clients/pkg/logentry/stages/util.go."""

import math
import re
from decimal import Decimal
from typing import Any, Final

from pipeline.go_duration import parse_go_duration_ns

_FLOAT: Final = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)


def as_text(value: Any) -> str | None:
    """Return a value as promtail writes it; None for what it has no text for (null)."""
    if isinstance(value, str):
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return float_text(value)
    return None


def float_text(value: float) -> str:
    """Write a number in full, without an exponent: as few digits as tell it from others (Go's 'f', -1)."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def as_float(value: Any) -> float | None:
    """Return a value as a number: text may also be a duration, which counts in seconds; None where it is neither."""
    if isinstance(value, bool | int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    if _FLOAT.fullmatch(value):
        return float(value)
    try:
        return parse_go_duration_ns(value) / 1e9
    except ValueError:
        return None
