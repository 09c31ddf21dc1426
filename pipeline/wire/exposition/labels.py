"""Names and labels of one line: what stands before its value.

Text 0.0.4 lets blanks stand between tokens and leaves commas free; OpenMetrics does neither. Since Prometheus 3 a name
beyond [a-zA-Z0-9_:] stands in quotes, the metric's own inside the braces: {"http.status", "le"="1"}.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.wire.errors import MalformedError
from pipeline.wire.exposition.entries import MetricType
from pipeline.wire.exposition.numbers import normalize_bound, show
from pipeline.wire.remote_write import Labels

Pairs = list[tuple[str, str]]
Matcher = Callable[[bytes, int], re.Match[bytes] | None]


class UnterminatedError(MalformedError):
    """A quoted string has no end in this line: where it may hold line feeds, the next line belongs to it."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """What differs between the formats: blanks, where line feeds may stand, and whether commas are a must."""

    blank: Matcher
    value: Matcher
    """A quoted label value."""
    value_spans_lines: bool
    commas: bool
    plain: re.Pattern[bytes]
    """A whole label list without quoted names, up to its closing brace."""


_NAME: Final = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*").match
_LABEL_NAME: Final = re.compile(rb"[a-zA-Z_][a-zA-Z0-9_]*").match
_QUOTED: Final = re.compile(rb'"(?:[^\\"]++|\\[^\n])*+"').match
_PAIR: Final = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*=[ \t]*"((?:[^"\\]++|\\.)*+)"').findall

TEXT_GRAMMAR: Final = Grammar(
    blank=re.compile(rb"[ \t]*").match,
    value=_QUOTED,
    value_spans_lines=True,
    commas=False,
    plain=re.compile(
        rb'(?:[ \t]*+[a-zA-Z_][a-zA-Z0-9_]*+[ \t]*+=[ \t]*+"(?:[^"\\\n]++|\\[^\n])*+"[ \t]*+,?)*+[ \t]*+\}'
    ),
)
OPENMETRICS_GRAMMAR: Final = Grammar(
    blank=re.compile(rb"").match,
    value=re.compile(rb'"(?:[^\\"\n]++|\\[^\n])*+"').match,
    value_spans_lines=False,
    commas=True,
    plain=re.compile(
        rb'(?:[a-zA-Z_][a-zA-Z0-9_]*+="(?:[^"\\\n]++|\\[^\n])*+"(?:,|(?=\})))*+\}',
    ),
)

_ESCAPE = re.compile(r'\\["\\n]')
_UNESCAPED = {r"\"": '"', r"\\": "\\", r"\n": "\n"}


def read_series(line: bytes, grammar: Grammar, family: MetricType) -> tuple[Labels, int]:
    """Read a line's metric name and labels, and where its value part begins; raises MalformedError.

    `family` is the type that the page's last `# TYPE` gave: it decides whether `le` and `quantile` are bounds.
    """
    start = _blank_end(grammar, line, 0)
    name: str | None = None
    end = behind = 0
    if (found := _NAME(line, start)) is not None:
        # Prometheus counts blanks in front of a name to the name.
        end = found.end()
        name = decode(line[:end], "metric name")
        behind = _blank_end(grammar, line, end)
    elif line[start : start + 1] != b"{":
        raise MalformedError(f"expected a metric name, got {show(line)}")
    else:
        behind = start
    pairs: Pairs = []
    if line[behind : behind + 1] == b"{":
        name, end = read_braces(line, behind + 1, grammar, pairs, name)
    if name is None:
        raise MalformedError(f"metric name not set in {show(line)}")
    return sort_labels(name, pairs, family), end


def read_braces(line: bytes, start: int, grammar: Grammar, pairs: Pairs, name: str | None) -> tuple[str | None, int]:
    """Read what stands between braces into `pairs`; return the metric's name and where the closing brace ends."""
    plain = grammar.plain.match(line, start)
    if plain is None:
        return _read_quoted_braces(line, start, grammar, pairs, name)
    for label, value in _PAIR(line, start, plain.end()):
        pairs.append((label.decode(), unescape(decode(value, "label value"))))
    return name, plain.end()


def _read_quoted_braces(
    line: bytes, start: int, grammar: Grammar, pairs: Pairs, name: str | None
) -> tuple[str | None, int]:
    """Read braces token by token, where names are quoted or something is wrong."""
    at = _blank_end(grammar, line, start)
    while line[at : at + 1] != b"}":
        token = _LABEL_NAME(line, at) or _read_string(line, at, _QUOTED, spans_lines=True)
        if token is None:
            raise MalformedError(f"expected a label name, got {show(line[at:])}")
        quoted = line[at] == 0x22
        at = _blank_end(grammar, line, token.end())
        if quoted and line[at : at + 1] in (b",", b"}"):
            if name is not None:
                raise MalformedError(f"metric name already set in {show(line)}")
            name = unescape(decode(token[0][1:-1], "metric name"))
            at = at if line[at] == 0x7D else _blank_end(grammar, line, at + 1)
            continue
        label = unescape(decode(token[0][1:-1] if quoted else token[0], "label name"))
        at = _read_value(line, at, grammar, pairs, label)
    return name, at + 1


def _read_value(line: bytes, at: int, grammar: Grammar, pairs: Pairs, label: str) -> int:
    """Read `="value"` and the comma behind it; return where the next label begins."""
    if line[at : at + 1] != b"=":
        raise MalformedError(f"expected an equals sign, got {show(line[at:])}")
    at = _blank_end(grammar, line, at + 1)
    value = _read_string(line, at, grammar.value, grammar.value_spans_lines)
    if value is None:
        raise MalformedError(f"expected a label value, got {show(line[at:])}")
    pairs.append((label, unescape(decode(value[0][1:-1], "label value"))))
    at = _blank_end(grammar, line, value.end())
    if line[at : at + 1] == b",":
        return _blank_end(grammar, line, at + 1)
    if grammar.commas and line[at : at + 1] != b"}":
        raise MalformedError(f"expected a comma or a closing brace, got {show(line[at:])}")
    return at


def _read_string(line: bytes, at: int, matcher: Matcher, spans_lines: bool) -> re.Match[bytes] | None:
    found = matcher(line, at)
    if found is None and spans_lines and line[at : at + 1] == b'"':
        raise UnterminatedError(f"a quote without its end: {show(line[at:])}")
    return found


def _blank_end(grammar: Grammar, line: bytes, at: int) -> int:
    found = grammar.blank(line, at)
    assert found is not None
    return found.end()


def sort_labels(name: str, pairs: Pairs, family: MetricType) -> Labels:
    """Return a series' labels as they are stored: sorted, and bounds written as OpenMetrics does."""
    if family is MetricType.HISTOGRAM:
        pairs = [(label, normalize_bound(value) if label == "le" else value) for label, value in pairs]
    elif family is MetricType.SUMMARY:
        pairs = [(label, normalize_bound(value) if label == "quantile" else value) for label, value in pairs]
    pairs.append(("__name__", name))
    # Only by name: of two labels with one name the first on the page stays the first.
    pairs.sort(key=_first)
    return tuple(pairs)


def _first(pair: tuple[str, str]) -> str:
    return pair[0]


def unescape(text: str) -> str:
    r"""Resolve \", \\ and \n; any other backslash stands for itself."""
    return _ESCAPE.sub(lambda found: _UNESCAPED[found[0]], text) if "\\" in text else text


def decode(text: bytes, what: str) -> str:
    """Decode UTF-8; raises MalformedError that names `what` is not."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"invalid UTF-8 {what}: {show(text)}") from error
