"""Series selectors as Prometheus writes them: `name{label="value", other=~"regex"}`, and nothing more of PromQL.

Source: Prometheus documentation, "Querying basics". A regular expression has RE2's syntax and matches whole values.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import PermanentError
from pipeline.regex import compile_re2

NAME = "__name__"


class SelectorError(PermanentError):
    """What was asked for is not a selector; the message says where."""


class UnsupportedError(SelectorError):
    """What was asked for is more of PromQL than a selector; the message names it."""


class Operator(StrEnum):
    """How a matcher compares."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    MATCHES_NOT = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; a label that a series does not have counts as empty."""

    name: str
    operator: Operator
    value: str

    def test(self) -> Callable[[str], bool]:
        """Return the condition on the label's value; raises SelectorError for a broken regular expression."""
        value = self.value
        if self.operator is Operator.EQUAL:
            return lambda found: found == value
        if self.operator is Operator.NOT_EQUAL:
            return lambda found: found != value
        try:
            pattern = compile_re2(value)
        except ValueError as error:
            raise SelectorError(f"not a regular expression of RE2: {value!r}: {error}") from error
        if self.operator is Operator.MATCHES:
            return lambda found: pattern.fullmatch(found) is not None
        return lambda found: pattern.fullmatch(found) is None


# What PromQL takes for white space; Python's own idea of it holds more.
_BLANKS = " \t\n\r"
_BARE = re.compile(r"[ \t\n\r]*([a-zA-Z_:][a-zA-Z0-9_:]*)")
_LABEL = re.compile(r"[ \t\n\r]*([a-zA-Z_][a-zA-Z0-9_]*|\"(?:[^\"\\]|\\.)*\")[ \t\n\r]*")
_OPERATOR = re.compile(r"(=~|!~|!=|=)[ \t\n\r]*")
_STRING = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"|'((?:[^'\\\n]|\\.)*)'|`([^`]*)`")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))")
_SINGLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'"}


def parse(text: str) -> tuple[Matcher, ...]:
    """Read a selector; raises SelectorError. At least one matcher must not match the empty string, as in PromQL."""
    matchers: list[Matcher] = []
    position = 0
    name = _BARE.match(text)
    if name is not None:
        matchers.append(Matcher(NAME, Operator.EQUAL, name[1]))
        position = name.end()
    position = _skip(text, position)
    if position < len(text) and text[position] == "(":
        raise UnsupportedError(f"{name[1] if name else '('}: PromQL functions and aggregations are not supported here")
    if position < len(text) and text[position] == "{":
        position = _parse_braces(text, position + 1, matchers)
    position = _skip(text, position)
    if position < len(text):
        raise UnsupportedError(_leftover(text, position))
    if not matchers or all(matcher.test()("") for matcher in matchers):
        raise SelectorError("a selector needs a name, or one matcher that does not match the empty string")
    return tuple(matchers)


def parse_braces(text: str) -> tuple[tuple[Matcher, ...], int]:
    """Read the selector in braces that a text begins with, and return where it ends; raises SelectorError.

    As in LogQL, at least one matcher must not match the empty string.
    """
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        raise SelectorError(f"{{ is missing at character {position + 1} of {text!r}")
    matchers: list[Matcher] = []
    position = _parse_braces(text, position + 1, matchers)
    if all(matcher.test()("") for matcher in matchers):
        raise SelectorError("a selector needs at least one matcher that does not match the empty string")
    return tuple(matchers), position


def parse_string(text: str, position: int) -> tuple[str, int]:
    """Read a string literal behind blanks, and return where it ends; raises SelectorError."""
    position = _skip(text, position)
    value = _STRING.match(text, position)
    if value is None:
        raise SelectorError(f"a string in quotes is missing at character {position + 1} of {text!r}")
    plain = value[3] if value[3] is not None else _unescape(value[1] if value[1] is not None else value[2])
    return plain, value.end()


def show_series(labels: tuple[tuple[str, str], ...]) -> str:
    """Write a label set as a selector that finds it: `name{a="b"}`."""
    name = next((value for label, value in labels if label == NAME), "")
    rest = ", ".join(f"{label}={quote(value)}" for label, value in labels if label != NAME)
    if name and not _BARE.fullmatch(name):
        return f"{{{quote(name)}{', ' if rest else ''}{rest}}}"
    return f"{name}{{{rest}}}" if rest or not name else name


def quote(value: str) -> str:
    """Write a string literal of PromQL."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _parse_braces(text: str, position: int, matchers: list[Matcher]) -> int:
    while True:
        position = _skip(text, position)
        if position < len(text) and text[position] == "}":
            return position + 1
        label = _LABEL.match(text, position)
        if label is None:
            raise SelectorError(f"a label name or }} is missing at character {position + 1} of {text!r}")
        quoted = label[1].startswith('"')
        name = _unescape(label[1][1:-1]) if quoted else label[1]
        operator = _OPERATOR.match(text, label.end())
        if operator is None and quoted:
            matchers.append(Matcher(NAME, Operator.EQUAL, name))
            position = label.end()
        elif operator is None:
            raise SelectorError(f"=, !=, =~ or !~ is missing at character {label.end() + 1} of {text!r}")
        else:
            plain, position = parse_string(text, operator.end())
            matchers.append(Matcher(name, Operator(operator[1]), plain))
        position = _skip(text, position)
        if position < len(text) and text[position] == ",":
            position += 1
        elif position >= len(text) or text[position] != "}":
            raise SelectorError(f", or }} is missing at character {position + 1} of {text!r}")


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[5] is not None:
            if match[5] not in _SINGLE:
                raise SelectorError(f"an unknown escape in a string: \\{match[5]}")
            return _SINGLE[match[5]]
        return chr(int(match[4], 8) if match[4] else int(match[1] or match[2] or match[3], 16))

    return _ESCAPE.sub(one, text)


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position


def _leftover(text: str, position: int) -> str:
    rest = text[position:]
    if rest.startswith("["):
        return f"a range ({rest[:20]}) needs a PromQL function, and those are not supported here"
    if rest.lower().startswith(("offset", "@")):
        return "offset and @ are not supported here"
    return f"only a plain selector is supported here: {rest[:40]!r} is more of PromQL"
