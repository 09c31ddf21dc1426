"""What the page of logs asks for. Its shapes belong to the page beside it and may change with it.

Times go as Unix milliseconds, but an entry's own as nanoseconds in a string: a browser's numbers cannot hold those.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from console.prometheus_api import BadRequestError, answer
from console.sources import Plain
from pipeline.store.logs import LEVELS, Found, LogStore, Query, parse_text
from pipeline.store.logs.entry import MAX_NS, clamped
from pipeline.store.selector import Matcher, Operator

MAX_ENTRIES: Final = 1_000
MAX_STEPS: Final = 300
MAX_VALUES: Final = 1_000
SHOWN_CHARACTERS: Final = 10_000
"""What the page gets of a line; `/api/console/logs/line` has all of it."""
_MS: Final = 1_000_000


def add_routes(app: web.Application, store: LogStore | None) -> None:
    """Serve them; without a store every answer says that there is none."""

    def serve(name: str, handler: Callable[[LogStore, Mapping[str, str]], Awaitable[Plain]]) -> None:
        async def handle(parameters: Mapping[str, str]) -> Plain:
            return {"stored": True, **await handler(store, parameters)} if store is not None else {"stored": False}

        async def route(request: web.Request) -> web.Response:
            return await answer(request, handle)

        app.router.add_get(f"/api/console/logs/{name}", route)

    for name, handler in {"entries": _entries, "tail": _tail, "counts": _counts, "labels": _labels}.items():
        serve(name, handler)
    serve("values", _values)
    serve("line", _line)


async def _entries(store: LogStore, parameters: Mapping[str, str]) -> Plain:
    query, limit = _query(parameters), min(_whole(parameters, "limit", 200), MAX_ENTRIES)
    after = _place(parameters["after"]) if "after" in parameters else None
    page = await store.entries(query, limit, after=after)
    return {
        **_shown(page.entries),
        "next": f"{page.next[0]},{page.next[1]}" if page.next else None,
        "reached": page.reached_ns // _MS if page.reached_ns is not None else None,
        "last": page.last_seq,
    }


async def _tail(store: LogStore, parameters: Mapping[str, str]) -> Plain:
    limit = min(_whole(parameters, "limit", 200), MAX_ENTRIES)
    tail = await store.tail(_query(parameters), _whole(parameters, "since", 0), limit)
    return {**_shown(tail.entries), "skipped": tail.skipped, "last": tail.last_seq}


async def _counts(store: LogStore, parameters: Mapping[str, str]) -> Plain:
    query, step_ns = _query(parameters), _whole(parameters, "step", 0) * _MS
    if step_ns <= 0 or (query.end_ns - query.start_ns) // step_ns > MAX_STEPS:
        raise BadRequestError(f"step is missing, or gives more than {MAX_STEPS} steps")
    counts = await store.counts(query, step_ns)
    reached = counts.reached_ns // _MS if counts.reached_ns is not None else None
    steps = [[at_ns // _MS, *by_level] for at_ns, by_level in sorted(counts.steps.items())]
    return {"levels": LEVELS, "step": step_ns // _MS, "steps": steps, "reached": reached}


async def _labels(store: LogStore, parameters: Mapping[str, str]) -> Plain:
    matchers = _matchers(parameters)
    names = {name: len(await store.label_values(name, matchers)) for name in await store.label_names(matchers)}
    summary = await store.summary()
    return {"names": names, "streams": summary.streams, "entries": summary.entries}


async def _values(store: LogStore, parameters: Mapping[str, str]) -> Plain:
    values = await store.label_values(parameters.get("name", ""), _matchers(parameters))
    words = parameters.get("find", "").lower().split()
    found = [value for value in values if all(word in value.lower() for word in words)]
    return {"values": found[:MAX_VALUES], "total": len(found)}


async def _line(store: LogStore, parameters: Mapping[str, str]) -> Plain:
    time_ns, seq = _place(parameters.get("at", ""))
    page = await store.entries(Query(start_ns=time_ns, end_ns=time_ns + 1), 1, after=(time_ns, seq + 1))
    if not page.entries or page.entries[0].seq != seq:
        raise BadRequestError("the entry is not there any more: retention dropped it")
    return {"line": page.entries[0].line}


def _shown(found: Sequence[Found]) -> Plain:
    """Write entries with each stream's labels once."""
    streams: dict[tuple[tuple[str, str], ...], int] = {}
    entries = []
    for entry in found:
        shown: dict[str, Any] = {
            "at": str(entry.time_ns),
            "id": entry.seq,
            "stream": streams.setdefault(entry.labels, len(streams)),
            "line": entry.line[:SHOWN_CHARACTERS],
            "level": entry.level,
        }
        if len(entry.line) > SHOWN_CHARACTERS:
            shown["length"] = len(entry.line)
        if entry.metadata:
            shown["metadata"] = dict(entry.metadata)
        entries.append(shown)
    return {"streams": [dict(labels) for labels in streams], "entries": entries}


def _query(parameters: Mapping[str, str]) -> Query:
    return Query(
        matchers=_matchers(parameters),
        text=parse_text(parameters.get("q", "")),
        start_ns=clamped(_whole(parameters, "start", -MAX_NS // _MS) * _MS),
        end_ns=clamped(_whole(parameters, "end", MAX_NS // _MS) * _MS) + 1,
        levels=frozenset("" if name == "none" else name for name in parameters.get("levels", "").split(",") if name),
    )


def _matchers(parameters: Mapping[str, str]) -> tuple[Matcher, ...]:
    """Read `match`, a JSON list of [name, operator, value]."""
    try:
        found = [
            Matcher(str(n), Operator(op), str(value)) for n, op, value in json.loads(parameters.get("match", "[]"))
        ]
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRequestError(f"match is not a list of [name, operator, value]: {error}") from error
    for matcher in found:
        matcher.test()
    return tuple(found)


def _place(text: str) -> tuple[int, int]:
    time_ns, _, seq = text.partition(",")
    try:
        return int(time_ns), int(seq)
    except ValueError as error:
        raise BadRequestError(f"not an entry's place: {text!r}") from error


def _whole(parameters: Mapping[str, str], name: str, default: int) -> int:
    try:
        number = int(parameters.get(name, default))
    except ValueError as error:
        raise BadRequestError(f"{name} is not a whole number: {parameters[name]!r}") from error
    if abs(number) > 1 << 62:
        raise BadRequestError(f"{name} is out of range: {number}")
    return number
