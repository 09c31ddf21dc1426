"""Functions of templates that work on numbers: sprig's."""

import math
import re
from collections.abc import Callable
from functools import reduce
from typing import Any, Final

_INTEGER: Final = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)", re.ASCII)


def _int64(number: int) -> int:
    """Wrap around at 64 bits, as Go's integers do."""
    return (number + 2**63) % 2**64 - 2**63


def to_int(value: Any) -> int:
    """Return a value as an integer, as sprig does: what is none is 0."""
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else 0
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        digits = value.lstrip("+-")
        number = int(digits, 16 if digits[:2] in ("0x", "0X") else 8 if len(digits) > 1 and digits[0] == "0" else 10)
        return -number if value[0] == "-" else number
    return to_int(to_float(value)) if isinstance(value, str) else 0


def to_float(value: Any) -> float:
    """Return a value as a number, as sprig does: what is none is 0."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _atoi(text: str) -> int:
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) else 0


def _divided(a: Any, b: Any) -> int:
    # Go's integers are cut towards zero.
    return _int64(int(math.copysign(1, to_int(a) * to_int(b))) * (abs(to_int(a)) // abs(to_int(b))))


def _rest(a: Any, b: Any) -> int:
    return to_int(a) - _divided(a, b) * to_int(b)


def _rounded(value: Any, places: int, *at: Any) -> float:
    half, factor = to_float(at[0]) if at else 0.5, 10.0**places
    whole = to_float(value) * factor
    return (math.floor(whole) + (1 if math.modf(whole)[0] >= half else 0)) / factor


def _bound(value: int) -> int:
    if value > 100_000:
        raise ValueError(f"{value} numbers")
    return value


SPRIG: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "atoi": ("s", _atoi),
    "int": ("a", to_int),
    "int64": ("a", to_int),
    "float64": ("a", to_float),
    "add1": ("a", lambda a: _int64(to_int(a) + 1)),
    "add": ("a*", lambda *values: _int64(sum(map(to_int, values)))),
    "sub": ("aa", lambda a, b: _int64(to_int(a) - to_int(b))),
    "mul": ("aa*", lambda a, *others: reduce(lambda x, y: _int64(x * to_int(y)), others, to_int(a))),
    "div": ("aa", _divided),
    "mod": ("aa", _rest),
    "max": ("aa*", lambda *values: max(map(to_int, values))),
    "biggest": ("aa*", lambda *values: max(map(to_int, values))),
    "min": ("aa*", lambda *values: min(map(to_int, values))),
    "addf": ("a*", lambda *values: sum(map(to_float, values))),
    "subf": ("aa*", lambda a, *others: to_float(a) - sum(map(to_float, others))),
    "mulf": ("aa*", lambda a, *others: math.prod(map(to_float, others), start=to_float(a))),
    "divf": ("aa*", lambda a, *others: reduce(lambda x, y: x / to_float(y), others, to_float(a))),
    "ceil": ("a", lambda a: float(math.ceil(to_float(a)))),
    "floor": ("a", lambda a: float(math.floor(to_float(a)))),
    "round": ("aia*", _rounded),
    "until": ("i", lambda count: list(range(_bound(count)))),
}
