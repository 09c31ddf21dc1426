"""LogQL's log queries as Loki writes them: a stream selector and line filters, `{app="a"} |= "text" !~ "regex"`.

Source: Loki documentation, "Log queries". What more there is of LogQL (parsers, label filters, formatting, metric
queries) is refused by name.
"""

import re
from typing import Final

from pipeline.store.logs.filters import Contains, Matches, TextFilter
from pipeline.store.logs.query import Query
from pipeline.store.selector import UnsupportedError, parse_braces, parse_string

_FILTERS: Final = {"|=": (Contains, False), "!=": (Contains, True), "|~": (Matches, False), "!~": (Matches, True)}
_STAGES: Final = re.compile(r"\|\s*([a-z_]+)")
_METRIC: Final = re.compile(r"\s*([a-z_0-9]+)\s*(?:by|without|\()")


def parse_logql(text: str) -> Query:
    """Read a query; raises SelectorError where it is none, UnsupportedError for what is more than this."""
    if metric := _METRIC.match(text):
        raise UnsupportedError(f"{metric[1]}: metric queries are not supported here, only log queries")
    matchers, position = parse_braces(text)
    parts: list[Contains | Matches] = []
    while rest := text[position:].lstrip():
        position = len(text) - len(rest)
        operator = rest[:2]
        if operator not in _FILTERS:
            stage = _STAGES.match(rest)
            name = stage[1] if stage else rest[:20]
            raise UnsupportedError(f"{name}: only line filters (|=, !=, |~, !~) are supported behind a selector")
        value, position = parse_string(text, position + 2)
        kind, negated = _FILTERS[operator]
        parts.append(Contains(value, fold=False, negated=negated) if kind is Contains else Matches(value, negated))
    found = Query(matchers, TextFilter(tuple(parts)))
    found.text.test()
    return found
