"""Functions of templates that choose among values, and work on lists, maps and JSON: sprig's."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.stages.template.values import inner, is_true


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if is_true(value)), None)


def _split(separator: str, text: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _join(separator: str, values: Any) -> str:
    return separator.join(map(inner, values)) if isinstance(values, list | tuple) else inner(values)


def _dict(*pairs: Any) -> dict[str, Any]:
    keys = [inner(key) for key in pairs[::2]]
    return dict(zip(keys, [*pairs[1::2], *([""] if len(pairs) % 2 else [])], strict=True))


def _read_json(text: str) -> Any:
    try:
        return json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return None


def write_json(value: Any) -> str:
    """Write JSON as Go's encoding/json does: without spaces, and nothing that HTML could take for its own."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _first(values: Any) -> Any:
    return values[0] if values else None


def _uniq(values: Any) -> list[Any]:
    texts, out = set[str](), list[Any]()
    others = list[Any]()
    for value in values:
        if isinstance(value, str):
            if value in texts:
                continue
            texts.add(value)
        elif value in others:
            continue
        else:
            others.append(value)
        out.append(value)
    return out


def _last(values: Any) -> Any:
    return values[-1] if values else None


SPRIG: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "default": ("aa*", lambda default, *given: given[0] if given and is_true(given[0]) else default),
    "empty": ("a", lambda value: not is_true(value)),
    "coalesce": ("a*", _coalesce),
    "all": ("a*", lambda *values: all(map(is_true, values))),
    "any": ("a*", lambda *values: any(map(is_true, values))),
    "ternary": ("aaa", lambda yes, no, which: yes if which else no),
    "splitList": ("ss", _split),
    "split": ("ss", lambda separator, text: {f"_{n}": part for n, part in enumerate(_split(separator, text))}),
    "join": ("sa", _join),
    "sortAlpha": ("a", lambda values: sorted(map(inner, values))),
    "list": ("a*", lambda *values: list(values)),
    "dict": ("a*", _dict),
    "get": ("as", lambda values, key: values.get(key, "") if isinstance(values, Mapping) else ""),
    "hasKey": ("as", lambda values, key: isinstance(values, Mapping) and key in values),
    "keys": ("a", lambda values: sorted(values)),
    "first": ("a", _first),
    "last": ("a", _last),
    "rest": ("a", lambda values: values[1:]),
    "initial": ("a", lambda values: values[:-1]),
    "reverse": ("a", lambda values: values[::-1]),
    "uniq": ("a", _uniq),
    "has": ("aa", lambda value, values: value in (values or ())),
    "append": ("aa", lambda values, value: [*values, value]),
    "prepend": ("aa", lambda values, value: [value, *values]),
    "fromJson": ("s", _read_json),
    "toJson": ("a", write_json),
}
