"""Functions that Go's templates have of their own. Source: Go, text/template/funcs.go."""

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote_plus

from agent.stages.template.values import MISSING, TemplateError, inner, is_true, kind, show_float


def _same_kind(a: Any, b: Any) -> None:
    if kind(a) != kind(b) and a is not None and b is not None:
        raise TemplateError("incompatible types for comparison")
    if isinstance(a, Mapping | list | tuple):
        raise TemplateError("non-comparable type")


def _equal(a: Any, *others: Any) -> bool:
    if not others:
        raise TemplateError("missing argument for comparison")
    for other in others:
        _same_kind(a, other)
    return any(a == other for other in others)


def _unequal(a: Any, b: Any) -> bool:
    return not _equal(a, b)


def _less(a: Any, b: Any) -> bool:
    _same_kind(a, b)
    if isinstance(a, bool) or a is None or b is None:
        raise TemplateError("invalid type for comparison")
    return bool(a.encode() < b.encode() if isinstance(a, str) else a < b)


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping | list | tuple):
        return len(value)
    raise TemplateError(f"len of type {kind(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, MISSING)
        elif isinstance(value, str | list | tuple) and isinstance(key, int):
            whole: Any = value.encode() if isinstance(value, str) else value
            if not 0 <= key < len(whole):
                raise TemplateError(f"index out of range: {key}")
            value = whole[key]
        else:
            raise TemplateError(f"can't index item of type {kind(value)}")
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    # sprig's, which promtail puts in the place of Go's: it takes lists alone.
    if not isinstance(value, list | tuple):
        raise TemplateError(f"can't slice item of type {kind(value)}")
    start, end = (*bounds, *(0, len(value))[len(bounds) :])[:2]
    if len(bounds) > 2 or not 0 <= start <= end <= len(value):
        raise TemplateError(f"index out of range: {start}:{end}")
    return value[start:end]


def _print(*values: Any) -> str:
    out = ""
    for index, value in enumerate(values):
        between = index and not isinstance(value, str) and not isinstance(values[index - 1], str)
        out += (" " if between else "") + inner(value)
    return out


def _println(*values: Any) -> str:
    return " ".join(map(inner, values)) + "\n"


_VERB: Final = re.compile(r"%([-+# 0]*)(\d+)?(?:\.(\d+))?(.)", re.DOTALL)


def _printf(layout: str, *values: Any) -> str:
    left = list(values)

    def verb(match: re.Match[str]) -> str:
        flags, width, precision, letter = match.groups()
        if letter == "%":
            return "%"
        if not left:
            return f"%!{letter}(MISSING)"
        text = _formatted(flags, precision, letter, left.pop(0))
        fill = "0" if "0" in flags and "-" not in flags and letter in "dfFeEgGxX" else " "
        if "-" in flags:
            return text.ljust(int(width or 0))
        return text.zfill(int(width or 0)) if fill == "0" else text.rjust(int(width or 0))

    out = _VERB.sub(verb, layout)
    return out + (f"%!(EXTRA {', '.join(f'{kind(v)}={inner(v)}' for v in left)})" if left else "")


def _formatted(flags: str, precision: str | None, letter: str, value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    plus = "+" if "+" in flags else ""
    if letter in "vs" and (letter == "v" or isinstance(value, str | list | tuple | Mapping)):
        text = inner(value)
        return text[: int(precision)] if precision is not None and isinstance(value, str) else text
    if letter == "q" and isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if letter == "t" and isinstance(value, bool):
        return inner(value)
    if letter in "dxXobc" and number and isinstance(value, int):
        return format(value, plus + letter)
    if letter in "xX" and isinstance(value, str):
        return value.encode().hex() if letter == "x" else value.encode().hex().upper()
    if letter in "fFeE" and isinstance(value, float):
        return format(value, f"{plus}.{precision or 6}{letter}")
    if letter in "gG" and isinstance(value, float):
        return show_float(value) if precision is None else format(value, f"{plus}.{precision}{letter}")
    return f"%!{letter}({kind(value)}={inner(value)})" if value is not None else f"%!{letter}(<nil>)"


def _script(*values: Any) -> str:
    quoted = re.sub(r"[\\'\"]", r"\\\g<0>", _print(*values))
    return re.sub(r"[\x00-\x1f&<=>]", lambda one: f"\\u{ord(one[0]):04X}", quoted)


BUILTINS: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "and": ("aa*", lambda *values: values[-1]),
    "or": ("aa*", lambda *values: values[-1]),
    "not": ("a", lambda value: not is_true(value)),
    "eq": ("aa*", _equal),
    "ne": ("aa", _unequal),
    "lt": ("aa", _less),
    "le": ("aa", lambda a, b: _equal(a, b) or _less(a, b)),
    "gt": ("aa", lambda a, b: not (_equal(a, b) or _less(a, b))),
    "ge": ("aa", lambda a, b: not _less(a, b)),
    "len": ("a", _length),
    "index": ("aa*", _index),
    "slice": ("aa*", _slice),
    "print": ("a*", _print),
    "println": ("a*", _println),
    "printf": ("sa*", _printf),
    "html": ("a*", lambda *values: html.escape(_print(*values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")),
    "js": ("a*", _script),
    "urlquery": ("a*", lambda *values: quote_plus(_print(*values))),
}
"""Names, with the arguments they take: see `functions.py`."""
