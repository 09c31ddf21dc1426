"""Whatever is asked of the store gives what a plain filter over all entries gives."""

import asyncio
import tempfile
from pathlib import Path

import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pipeline.store.logs import Contains, Found, LogStore, LogStoreConfig, Matches, Query, TextFilter
from pipeline.store.logs.filters import parse_text
from pipeline.store.selector import Matcher, Operator, SelectorError
from tests.pipeline.store.logs.requests import push

BUDGET_S = 60.0
"""However slow the machine: what a search finds in two seconds is another test's."""

# Few letters, so that what is looked for is often there; those that fold into others, that end a text for some, or
# that mean something to the index.
TEXT = st.text('abAB 0"*\n\0ßẞſİıςΣ😀-', max_size=12)
TIME = st.integers(0, 40)
# In one order: the store keeps pairs as they come, and rows are compared by how they are written.
METADATA: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from(["m", "n"]), TEXT, max_size=2).map(lambda pairs: dict(sorted(pairs.items()))),
)
ENTRY = st.tuples(TIME, TEXT, METADATA)
REQUEST = st.tuples(
    st.sampled_from(["x", "y", "z"]), st.lists(ENTRY, min_size=1, max_size=6), st.booleans(), st.booleans()
)
PART = st.one_of(
    st.builds(Contains, TEXT, st.booleans(), st.booleans()),
    st.builds(
        Matches, st.sampled_from(["a", "^a", "[ab]+$", "(?i)B", "a.*b", "", "(?i)aſ*b", r"\*a?b"]), st.booleans()
    ),
)
FILTER = st.builds(TextFilter, st.lists(PART, max_size=3).map(tuple), st.booleans())
MATCHER = st.builds(
    Matcher, st.sampled_from(["app", "none"]), st.sampled_from(Operator), st.sampled_from(["x", "y", "", "x|y"])
)
QUERY = st.builds(Query, st.lists(MATCHER, max_size=2).map(tuple), FILTER, TIME, TIME.map(lambda end: end + 10))


def holds(query: Query, app: str, time_ns: int, line: str, metadata: dict[str, str]) -> bool:
    labels = {"app": app}
    texts = [line, *metadata.values()] if query.text.metadata else [line]
    return (
        query.start_ns <= time_ns < query.end_ns
        and all(matcher.test()(labels.get(matcher.name, "")) for matcher in query.matchers)
        and all(any(has(part, text) for text in texts) is not part.negated for part in query.text.parts)
    )


def has(part: Contains | Matches, text: str) -> bool:
    if isinstance(part, Matches):
        return re2.search(part.pattern, text) is not None
    return part.text.casefold() in text.casefold() if part.fold else part.text in text


@settings(max_examples=150, deadline=None)
@given(st.lists(REQUEST, max_size=12), st.lists(QUERY, min_size=1, max_size=6), st.booleans(), st.integers(1, 5))
def test_a_query_gives_what_a_plain_filter_gives(
    requests: list[tuple[str, list[tuple[int, str, dict[str, str]]], bool, bool]],
    queries: list[Query],
    newest_first: bool,
    limit: int,
) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = LogStore(LogStoreConfig(path=Path(folder) / "logs.db", max_age=1e10), CollectorRegistry())
            await store.start()
            kept: list[tuple[str, int, str, dict[str, str]]] = []
            for app, entries, seal, in_doubt in requests:
                await store.append(push({"app": app}, *entries), in_doubt=in_doubt)
                for one in {(t, line, tuple(sorted(m.items()))) for t, line, m in entries}:
                    row = (app, one[0], one[1], dict(one[2]))
                    wanted = sum((t, line, tuple(sorted(m.items()))) == one for t, line, m in entries)
                    kept += [row] * (max(0, wanted - kept.count(row)) if in_doubt else wanted)
                if seal:
                    await store.maintain(seal=True)
            for query in queries:
                found: list[Found] = []
                after = None
                while True:
                    page = await store.entries(query, limit, newest_first=newest_first, after=after, budget_s=BUDGET_S)
                    found += page.entries
                    if (after := page.next) is None:
                        break
                rows = [(dict(e.labels)["app"], e.time_ns, e.line, dict(e.metadata)) for e in found]
                wanted_rows = [row for row in kept if holds(query, *row)]
                assert sorted(rows, key=repr) == sorted(wanted_rows, key=repr)
                places = [(e.time_ns, e.seq) for e in found]
                assert places == sorted(places, reverse=newest_first)
                counts = await store.counts(query, 7, budget_s=BUDGET_S)
                assert sum(map(sum, counts.steps.values())) == len(rows)
                tail = await store.tail(query, 0, 1_000, budget_s=BUDGET_S)
                assert sorted(e.seq for e in found) == [e.seq for e in tail.entries]
            await store.close()

    asyncio.run(main())


@given(st.text())
def test_whatever_is_typed_is_a_search_or_a_mistake_that_is_named(text: str) -> None:
    try:
        parse_text(text).index_query()
    except SelectorError as error:
        assert "RE2" in str(error), text
