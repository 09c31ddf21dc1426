"""The part of LogQL that promtail's `match` takes: a stream selector and line filters.

Source: promtail, clients/pkg/logentry/logql/expr.y. Matchers on labels are Prometheus' (a regex matches as a whole, a
label that is not there is empty), line filters look for their text or expression anywhere.
"""

import ast
import re
from dataclasses import dataclass
from typing import Final

from agent.stages.lang.regex import Regex, compile_regex

_STRING: Final = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`([^`]*)`')
_MATCHER: Final = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*", re.ASCII)
_FILTER: Final = re.compile(r"\s*(\|=|\|~|!=|!~)\s*")
_BETWEEN: Final = re.compile(r"\s*(,|\})")


@dataclass(frozen=True, slots=True)
class Condition:
    """What a label's value or a line has to be: `text` it is or has, or what `regex` finds; or not, with `negative`."""

    name: str
    text: str
    regex: Regex | None
    negative: bool

    def on_label(self, value: str) -> bool:
        """Tell whether a label's value meets it."""
        return (self.regex.matches(value) if self.regex else value == self.text) is not self.negative

    def on_line(self, line: str) -> bool:
        """Tell whether a line meets it."""
        return (self.regex.matches(line) if self.regex else self.text in line) is not self.negative


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector: conditions on labels, and on the line."""

    labels: tuple[Condition, ...]
    line: tuple[Condition, ...]


def parse_selector(text: str) -> Selector:
    """Read `{a="b", c=~"d.*"} |= "e" !~ "f"`; raises ValueError with the column."""
    opening = re.match(r"\s*\{", text)
    if opening is None:
        raise _error(text, 0, "a selector begins with {")
    labels, at = _matchers(text, opening.end())
    line: list[Condition] = []
    while text[at:].strip():
        match = _FILTER.match(text, at)
        if match is None:
            raise _error(text, at, "unexpected text behind the selector: only |=, !=, |~ and !~ may stand there")
        operator, (value, at) = match[1], _string(text, match.end())
        line.append(_condition("", operator, value, text, at, whole=False))
    return Selector(tuple(labels), tuple(line))


def _matchers(text: str, at: int) -> tuple[list[Condition], int]:
    conditions: list[Condition] = []
    while True:
        match = _MATCHER.match(text, at)
        if match is None:
            raise _error(text, at, "expected a label and =, !=, =~ or !~")
        value, at = _string(text, match.end())
        conditions.append(_condition(match[1], match[2], value, text, at, whole=True))
        between = _BETWEEN.match(text, at)
        if between is None:
            raise _error(text, at, "expected , or }")
        at = between.end()
        if between[1] == "}":
            return conditions, at


def _condition(name: str, operator: str, value: str, text: str, at: int, *, whole: bool) -> Condition:
    regex = None
    if "~" in operator:
        try:
            regex = compile_regex(f"^(?s:{value})$" if whole else value)
        except ValueError as error:
            raise _error(text, at, str(error)) from error
    return Condition(name, value, regex, operator.startswith("!"))


def _string(text: str, at: int) -> tuple[str, int]:
    match = _STRING.match(text, at)
    if match is None:
        raise _error(text, at, "expected a string in quotes or backquotes")
    if match[2] is not None:
        return match[2], match.end()
    return unquote(match[0]), match.end()


def unquote(literal: str) -> str:
    """Read a string in double quotes as Go does; raises ValueError for an escape that Go has not."""
    if re.search(r"(?<!\\)(?:\\\\)*\\(?![abfnrtv\\\"0-7xuU])", literal):
        raise ValueError(f"invalid syntax: {literal}")
    try:
        return str(ast.literal_eval(literal))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"invalid syntax: {literal}") from error


def _error(text: str, at: int, reason: str) -> ValueError:
    line = text.count("\n", 0, at) + 1
    return ValueError(f"parse error at line {line}, col {at - text.rfind(chr(10), 0, at)}: {reason}")
