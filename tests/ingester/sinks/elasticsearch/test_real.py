"""Logs in a real Elasticsearch and a real OpenSearch: each line once, whatever happens on the way."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pipeline.delivery import Delivered, Retry
from pipeline.send.request import Piece
from pipeline.wire import loki, snappy
from tests.ingester.sinks.elasticsearch.parts import CREATED_MS, DAY, LogLane, Run, running, section
from tests.servers.elasticsearch import Elasticsearch
from tests.servers.opensearch import OpenSearch
from tests.servers.search import SearchServer

NOW_NS = CREATED_MS * 1_000_000
KINDS = [
    pytest.param("elasticsearch", marks=pytest.mark.elasticsearch),
    pytest.param("opensearch", marks=pytest.mark.opensearch),
]
OWN = [
    pytest.param(Elasticsearch, marks=pytest.mark.elasticsearch),
    pytest.param(OpenSearch, marks=pytest.mark.opensearch),
]
each = pytest.mark.parametrize("kind", KINDS)
each_of_its_own = pytest.mark.parametrize("kind", OWN)


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> SearchServer:
    found: SearchServer = request.getfixturevalue(kind)
    return found


async def messages(server: SearchServer, run: Run) -> list[str]:
    return sorted(document["_source"]["message"] for document in await server.documents(run.indices))


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"line %06d" % number for number in range(start, start + count)]


def text(lines: list[bytes]) -> list[str]:
    return sorted(line.decode() for line in lines)


async def until_sent(run: Run, times: int) -> None:
    async with asyncio.timeout(30):
        while len(run.outcomes) < times:  # noqa: ASYNC110 - the server's answers are what is waited for
            await asyncio.sleep(0.01)


async def put(server: SearchServer, path: str, body: Any) -> None:
    await server.request("PUT", path, body)


@each
async def test_a_line_arrives_with_its_time_labels_and_metadata(server: SearchServer) -> None:
    labels = {"cluster": "c1", "namespace": "shop", "level": "warn"}
    entry = (NOW_NS + 123_456_789, b'say "hi" \\ \x00 \xff', (("trace_id", "abc"), ("service_name", "cart")))
    async with running(section(server.url)) as run:
        assert await run.deliver(LogLane().batch([(labels, [entry])])) is not None
        (document,) = await server.documents(run.indices)
        for query in (
            {"term": {"orchestrator.cluster.name": "c1"}},
            {"term": {"labels.namespace": "shop"}},
            {"term": {"metadata.trace_id": "abc"}},
            {"term": {"log.level": "warn"}},
            {"match": {"message": "hi"}},
            {"range": {"@timestamp": {"gte": "2026-09-21T14:13:20.123456789Z"}}},
        ):
            assert [found["_id"] for found in await server.documents(run.indices, query)] == [document["_id"]]
        later = {"range": {"@timestamp": {"gt": "2026-09-21T14:13:20.123456789Z"}}}
        assert await server.documents(run.indices, later) == []
    assert document["_index"] == f"{run.config.index_prefix}-logs-default-{DAY}"
    assert document["_source"] == {
        "orchestrator.cluster.name": "c1",
        "event.dataset": "default",
        "labels": labels,
        "log.level": "warn",
        "@timestamp": "2026-09-21T14:13:20.123456789Z",
        "message": 'say "hi" \\ \x00 \ufffd',
        "metadata": {"trace_id": "abc", "service_name": "cart"},
        "service.name": "cart",
    }


@each
async def test_what_is_delivered_again_is_there_once(server: SearchServer) -> None:
    lane, other = LogLane(), LogLane(agent="a2")
    pieces = [lane.lines(numbered(300), 0), lane.lines(numbered(300, 300), 1), other.lines(numbered(100, 600), 2)]
    async with running(section(server.url)) as run, running(run.config) as successor:
        await run.deliver(*pieces)
        # A successor joins records otherwise, and begins earlier than what was acknowledged.
        tally = await successor.deliver(pieces[1])
        await successor.deliver(pieces[2], pieces[0])
        assert tally.delivered == 300
        assert await messages(server, run) == text(numbered(700))


@each
async def test_only_lines_that_the_store_refuses_are_given_back_in_its_words(server: SearchServer) -> None:
    lane, labels = LogLane(), {"cluster": "c1", "job": "j"}
    good = lane.lines(numbered(50))
    mixed = lane.batch(
        [
            (labels, [(NOW_NS, b"good"), (-1_000_000_000, b"before 1970"), (NOW_NS + 1, b"good, too")]),
            ({**labels, "job": "k"}, [(-2_000_000_000, b"1969", (("m", "x"),)), (2**63 - 1, b"2262")]),
        ],
        source=1,
    )
    async with running(section(server.url)) as run:
        tally = await run.deliver(good, mixed)
        assert (tally.delivered, tally.refused) == (53, 2)
        assert await messages(server, run) == text([*numbered(50), b"good", b"good, too", b"2262"])
    ((piece, refusal),) = run.refused
    assert (piece.source, piece.items, refusal.status) == (1, 2, 400)
    assert "@timestamp" in refusal.reason and "1 more like it" in refusal.reason
    streams = [(stream.labels, stream.entries) for stream in loki.decode(snappy.decompress(piece.payload))]
    assert streams == [
        ('{cluster="c1", job="j"}', [(-1_000_000_000, b"before 1970", ())]),
        ('{cluster="c1", job="k"}', [(-2_000_000_000, b"1969", (("m", "x"),))]),
    ]


@each
async def test_a_dead_letter_that_is_sent_again_takes_no_other_lines_place(server: SearchServer) -> None:
    lane, labels = LogLane(), {"cluster": "c1", "job": "j"}
    whole = lane.batch([(labels, [(NOW_NS, b"first"), (-1, b"refused")])])
    async with running(section(server.url)) as run:
        await run.deliver(whole)
        assert [piece.items for piece, _ in run.refused] == [1]
        # That the store takes it by now is the letter's being another here.
        content = loki.encode_stream(loki.encode_labels(labels.items()), loki.encode_entry(NOW_NS, b"refused"))
        mended = snappy.compress(content)
        for _ in range(2):
            tally = await run.deliver(Piece(mended, 1, envelope=whole.envelope))
            assert tally.delivered == 1
        assert await messages(server, run) == ["first", "refused"]


@each
async def test_times_of_1970_and_2100_long_lines_and_many_labels_are_carried(server: SearchServer) -> None:
    lane, year_2100_ns = LogLane(), 4_102_444_800 * 10**9
    long_line = b"x" * 40_000 + b" end"
    odd = [
        ({"cluster": "c1", "job": "j"}, [(0, b"1970"), (1, b"1970 and a bit"), (year_2100_ns + 7, b"2100")]),
        ({"cluster": "c1", "long": "v" * 9000}, [(NOW_NS, long_line)]),
    ]
    many = [({"cluster": "c1", f"label_{n}": "v"}, [(NOW_NS, b"many %d" % n)]) for n in range(2000)]
    async with running(section(server.url)) as run:
        tally = await run.deliver(lane.batch(odd, 0), lane.batch(many, 1))
        assert (tally.delivered, tally.refused) == (2004, 0)
        found = {d["_source"]["message"]: d["_source"]["@timestamp"] for d in await server.documents(run.indices)}
        assert found["1970"] == "1970-01-01T00:00:00.000000000Z"
        assert found["2100"] == "2100-01-01T00:00:00.000000007Z"
        assert long_line.decode() in found
        mapping = await server.request("GET", f"/{run.indices}/_mapping")
        assert len(json.dumps(mapping)) < 3000
        assert await server.documents(run.indices, {"term": {"labels.label_77": "v"}})


@each
async def test_a_read_only_index_holds_the_lines_with_an_alarm(server: SearchServer) -> None:
    lane = LogLane()
    async with running(section(server.url)) as run:
        await run.deliver(lane.lines(numbered(10)))
        await put(server, f"/{run.indices}/_settings", {"index.blocks.write": True})
        waiting = asyncio.create_task(run.deliver(lane.lines(numbered(10, 10))))
        await until_sent(run, 4)
        retry = run.outcomes[-1]
        assert isinstance(retry, Retry) and retry.alarm and "cluster_block_exception" in retry.reason
        await put(server, f"/{run.indices}/_settings", {"index.blocks.write": None})
        assert (await waiting).delivered == 10
        assert await messages(server, run) == text(numbered(20))


@each
async def test_a_disk_at_its_flood_stage_holds_the_lines_with_an_alarm(server: SearchServer) -> None:
    lane = LogLane()
    async with running(section(server.url)) as run:
        await run.deliver(lane.lines(numbered(10)))
        # This is the block that a server sets by itself when its disk is full.
        await put(server, f"/{run.indices}/_settings", {"index.blocks.read_only_allow_delete": True})
        waiting = asyncio.create_task(run.deliver(lane.lines(numbered(10, 10))))
        await until_sent(run, 4)
        retry = run.outcomes[-1]
        assert isinstance(retry, Retry) and retry.alarm and "read-only-allow-delete" in retry.reason
        await put(server, f"/{run.indices}/_settings", {"index.blocks.read_only_allow_delete": None})
        assert (await waiting).delivered == 10
        assert await messages(server, run) == text(numbered(20))


@each
async def test_a_closed_index_holds_the_lines_with_an_alarm(server: SearchServer) -> None:
    lane = LogLane()
    async with running(section(server.url)) as run:
        await run.deliver(lane.lines(numbered(10)))
        index = f"{run.config.index_prefix}-logs-default-{DAY}"
        await server.request("POST", f"/{index}/_close")
        waiting = asyncio.create_task(run.deliver(lane.lines(numbered(10, 10))))
        await until_sent(run, 3)
        retry = run.outcomes[-1]
        assert isinstance(retry, Retry) and retry.alarm and "closed" in retry.reason
        await server.request("POST", f"/{index}/_open")
        assert (await waiting).delivered == 10
        assert await messages(server, run) == text(numbered(20))


@asynccontextmanager
async def own(kind: type[SearchServer], **settings: str) -> AsyncIterator[SearchServer]:
    async with kind(settings=settings) as server:
        yield server


@each_of_its_own
async def test_requests_become_smaller_until_a_pressed_server_takes_them(kind: type[SearchServer]) -> None:
    lines = [b"%b %b" % (line, b"x" * 1000) for line in numbered(500)]
    settings = {"indexing_pressure.memory.limit": "50kb"}
    async with own(kind, **settings) as server, running(section(server.url)) as run:
        assert (await run.deliver(LogLane().lines(lines))).delivered == 500
        retries = [outcome for outcome in run.outcomes if isinstance(outcome, Retry)]
        assert retries and all("HTTP 429" in retry.reason and not retry.alarm for retry in retries)
        assert len({retry.reason for retry in retries}) == 1
        assert await messages(server, run) == text(lines)


@each_of_its_own
async def test_requests_become_smaller_where_the_server_takes_none_so_large(kind: type[SearchServer]) -> None:
    lines = [b"%b %b" % (line, b"x" * 1000) for line in numbered(3000)]
    too_long = b"y" * 400_000
    settings = {"http.max_content_length": "300kb"}
    async with own(kind, **settings) as server, running(section(server.url)) as run:
        tally = await run.deliver(LogLane().lines([*lines, too_long]))
        assert (tally.delivered, tally.refused) == (3000, 1)
        assert await messages(server, run) == text(lines)
    ((piece, refusal),) = run.refused
    assert (piece.items, refusal.status) == (1, 413)


@each_of_its_own
async def test_lines_that_find_a_queue_full_are_sent_again_and_the_others_are_not(kind: type[SearchServer]) -> None:
    settings = {"thread_pool.write.size": "1", "thread_pool.write.queue_size": "1"}
    async with own(kind, **settings) as server, running(section(server.url, shards=20)) as run:
        assert (await run.deliver(LogLane().lines(numbered(2000)))).delivered == 2000
        retries = [outcome for outcome in run.outcomes if isinstance(outcome, Retry)]
        assert retries and all("rejected_execution_exception" in retry.reason for retry in retries)
        assert isinstance(run.outcomes[-1], Delivered)
        assert await messages(server, run) == text(numbered(2000))
        stats = await server.request("GET", f"/{run.indices}/_stats/indexing")
        # A line that was there and came again would count as one that failed.
        assert stats["_all"]["total"]["indexing"]["index_failed"] == 0


@each_of_its_own
async def test_a_server_killed_under_load_has_each_line_once_when_it_is_back(kind: type[SearchServer]) -> None:
    lanes = [LogLane(lane=n) for n in range(4)]
    async with own(kind) as server, running(section(server.url)) as run:

        async def send(lane: LogLane) -> None:
            for batch in range(10):
                lines = numbered(200, lane.lane * 10_000 + batch * 200)
                assert (await run.deliver(lane.lines(lines))).delivered == 200

        async with asyncio.TaskGroup() as tasks:
            for lane in lanes:
                tasks.create_task(send(lane))
            await until_sent(run, 3)
            await server.kill()
            await server.restart()
        assert any(isinstance(outcome, Retry) for outcome in run.outcomes)
        expected = [line for n in range(4) for line in numbered(2000, n * 10_000)]
        assert await messages(server, run) == text(expected)


@each
async def test_a_data_stream_takes_what_comes_again_once_until_it_rolls_over(server: SearchServer) -> None:
    """What documentation promises, and what it warns of: a stream looks for an id in its newest index only."""
    piece = LogLane().lines(numbered(10))
    async with running(section(server.url, data_stream=True)) as run:
        for _ in range(2):
            await run.deliver(piece)
        stream = f"{run.config.index_prefix}-logs-default"
        assert await server.count(stream) == 10
        await server.request("POST", f"/{stream}/_rollover")
        await run.deliver(piece)
        assert await server.count(stream) == 20


@each
async def test_a_template_is_put_kept_renewed_and_not_lowered(server: SearchServer) -> None:
    config = section(server.url)
    path = f"/_index_template/{config.index_prefix}-logs"
    lane = LogLane()

    async def version() -> tuple[int, str]:
        (found,) = (await server.request("GET", path))["index_templates"]
        template = found["index_template"]
        return template["version"], template["template"]["settings"]["index"]["refresh_interval"]

    async with running(config) as run:
        await run.deliver(lane.lines(numbered(1)))
    assert await version() == (1, "5s")
    async with running(config.model_copy(update={"refresh_interval": "1s"})) as run:
        await run.deliver(lane.lines(numbered(1)))
    assert await version() == (1, "1s")
    newer = {"index_patterns": [f"{config.index_prefix}-logs-*"], "version": 9, "priority": 300}
    await put(server, path, {**newer, "template": {"settings": {"index.refresh_interval": "9s"}}})
    async with running(config) as run:
        await run.deliver(lane.lines(numbered(1)))
    assert await version() == (9, "9s")


@each
async def test_a_lifecycle_policy_is_left_out_where_the_server_knows_none(
    server: SearchServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(section(server.url, lifecycle_policy="thirty-days")) as run:
        assert (await run.deliver(LogLane().lines(numbered(3)))).delivered == 3
        assert "no index lifecycle management" in caplog.text
        assert await server.count(run.indices) == 3


@each
async def test_datasets_have_indices_of_their_own_as_far_as_they_are_listed(server: SearchServer) -> None:
    config = section(server.url, dataset="{namespace}", datasets=["shop", "kube_system"])
    lane = LogLane()
    async with running(config) as run:
        for namespace in ("shop", "kube-system", "other"):
            await run.deliver(lane.lines(numbered(1), namespace=namespace))
        found = {d["_index"]: d["_source"]["event.dataset"] for d in await server.documents(run.indices)}
    prefix = f"{config.index_prefix}-logs"
    assert found == {f"{prefix}-{name}-{DAY}": name for name in ("shop", "kube_system", "default")}
