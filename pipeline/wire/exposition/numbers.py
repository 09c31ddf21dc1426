"""Numbers as Go's strconv reads and writes them: what Prometheus accepts as a value, to the last bit."""

import math
import re
from decimal import Decimal

from pipeline.wire.errors import MalformedError
from pipeline.wire.remote_write import QUIET_NAN, pack_double, unpack_double

_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
_INFINITY = re.compile(rb"([+-]?)(?:inf|infinity)", re.IGNORECASE).fullmatch
_HEX = re.compile(r"[+-]?0[xX](?=_?[0-9a-fA-F]|\.)_?[0-9a-fA-F_]*\.?[0-9a-fA-F_]*[pP][+-]?[0-9_]+", re.ASCII).fullmatch

_PLUS_INF, _MINUS_INF = pack_double(math.inf), pack_double(-math.inf)


def read_value(text: bytes) -> bytes:
    """Return a value's eight bytes; raises MalformedError.

    Prometheus takes what Go took before version 1.13: decimal notation, Inf and NaN in any case (NaN without a sign),
    but neither underscores nor hexadecimal floats; a number beyond the largest double is refused.
    """
    if _DECIMAL(text) is not None:
        number = float(text)
        if math.isinf(number):
            raise MalformedError(f"value out of range: {show(text)}")
        return pack_double(number)
    if text.lower() == b"nan":
        return QUIET_NAN
    if (infinity := _INFINITY(text)) is not None:
        return _MINUS_INF if infinity[1] == b"-" else _PLUS_INF
    raise MalformedError(f"not a number: {show(text)}")


def read_seconds_ms(text: bytes) -> int:
    """Return OpenMetrics' timestamp, seconds with a fraction, in milliseconds, cut off; raises MalformedError."""
    number: float = unpack_double(read_value(text))[0]
    if math.isnan(number) or math.isinf(number):
        raise MalformedError(f"invalid timestamp: {show(text)}")
    # What int64 cannot hold becomes its smallest number, as on amd64, and is then too old for any store.
    milliseconds = number * 1000
    return int(milliseconds) if -(2.0**63) <= milliseconds < 2.0**63 else -(2**63)


def normalize_bound(text: str) -> str:
    """Write `le` and `quantile` the way OpenMetrics does ("1" becomes "1.0"); leave what is no number as it is."""
    number = _go_float(text)
    return text if number is None else format_openmetrics(number)


def format_openmetrics(number: float) -> str:
    """Write a double as Go's `FormatFloat(…, 'g', -1, 64)` does, with `.0` where neither a point nor an exponent is."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    if number == 0:
        return "0.0"  # also for minus zero
    sign, digit_tuple, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    digits = "".join(map(str, digit_tuple))
    power, minus = len(digits) - 1 + exponent, "-" if sign else ""
    # Where Go writes the shortest digits, it decides with a precision of 6 (strconv, ftoa.go).
    if power < -4 or power >= 6:
        fraction = "." + digits[1:] if len(digits) > 1 else ""
        return f"{minus}{digits[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"
    if power < 0:
        return f"{minus}0.{'0' * (-power - 1)}{digits}"
    whole, rest = digits[: power + 1].ljust(power + 1, "0"), digits[power + 1 :]
    return f"{minus}{whole}.{rest or '0'}"


def _go_float(text: str) -> float | None:
    """Read what today's Go reads as a float; None for anything else, and for what is out of range."""
    bare = _without_underscores(text) if "_" in text else text
    if bare is None:
        return None
    try:
        if _HEX(text) is not None:
            return float.fromhex(bare)
        return float(unpack_double(read_value(bare.encode()))[0])
    except (MalformedError, OverflowError, ValueError):
        return None


def _without_underscores(text: str) -> str | None:
    """Drop underscores where Go allows them, which is between digits; None where one stands elsewhere."""
    start = 2 if text.lstrip("+-")[:2].lower() == "0x" else 0
    for found in re.finditer("_+", text):
        before, behind = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
        if len(found[0]) > 1 or not re.fullmatch("[0-9a-fA-FxX]" if start else "[0-9]", before):
            return None
        if not re.fullmatch("[0-9a-fA-F]" if start else "[0-9]", behind):
            return None
    return text.replace("_", "")


def show(text: bytes) -> str:
    """Write bytes of a page for a message: quoted, and not endless."""
    shown = text[:80].decode("utf-8", "backslashreplace")
    return repr(shown) + ("…" if len(text) > 80 else "")
