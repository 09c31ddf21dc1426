"""Values of Go templates, and how Go compares and prints them. Source: Go, text/template/exec.go, fmt."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from agent.stages.values import float_text


class TemplateError(Exception):
    """A template that cannot be written with these values."""


class _Missing:
    """The value of a key that a map has not."""


MISSING: Final = _Missing()


@dataclass(slots=True)
class Scope:
    """What a template sees where it is: the dot, and variables, `$` among them."""

    dot: Any
    variables: dict[str, Any]


Evaluate = Callable[[Scope], Any]
Node = Callable[[Scope, list[str]], None]
"""Write a part of a template."""


def show(value: Any) -> str:
    """Print a value as `{{ }}` does."""
    if isinstance(value, str):
        return value
    return "<no value>" if value is MISSING or value is None else inner(value)


def inner(value: Any) -> str:
    """Print a value as Go's `%v` does, in lists and maps, too."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return show_float(value)
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{inner(key)}:{inner(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(inner, value)) + "]"
    return "<nil>" if value is None or value is MISSING else str(value)


def show_float(value: float) -> str:
    """Print a number as Go's `%v` does: with an exponent below 1e-4 and from 1e21."""
    if math.isfinite(value) and value and not 1e-4 <= abs(value) < 1e21:
        mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
        return f"{mantissa}e{exponent[0]}{exponent[1:]:0>2}"
    return float_text(value)


def is_true(value: Any) -> bool:
    """Tell whether a value counts as true: nothing, zero and what is empty do not."""
    return value is not MISSING and bool(value)


def kind(value: Any) -> str:
    """Return a value's Go type."""
    for known, name in ((bool, "bool"), (str, "string"), (int, "int"), (float, "float64")):
        if isinstance(value, known):
            return name
    if isinstance(value, Mapping):
        return "map[string]interface {}"
    return "[]interface {}" if isinstance(value, list | tuple) else "<nil>"
