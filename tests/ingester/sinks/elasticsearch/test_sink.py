"""The sink against a stand-in that answers as it is told: what no real server can be brought to say on a loopback."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from pipeline.delivery import Delivered, Partly, Rejected, Retry
from pipeline.send.request import Piece
from pipeline.wire import loki, snappy
from tests.ingester.sinks.elasticsearch.parts import CREATED_MS, LogLane, piece_of, request_of, running, section
from tests.servers.processes import free_port

Decide = Callable[[str, dict[str, Any]], tuple[int, str]]
CREATED = (201, "")


@dataclass
class StandIn:
    """Answers bulk requests; `decide` sees each document's id and source. Everything is created if nothing is said."""

    decide: Decide = lambda name, source: CREATED
    whole: Callable[[bytes], tuple[int, str] | None] = lambda body: None
    """An answer to the whole request, by its body."""
    port: int = field(default_factory=free_port)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    template: dict[str, Any] | None = None
    created: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bulks(self) -> list[bytes]:
        return [body for path, _, body in self.requests if path.endswith("/_bulk")]

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append((request.path, dict(request.headers), body))
        product = {"X-Elastic-Product": "Elasticsearch"}
        if not request.path.endswith("/_bulk"):
            if request.method == "PUT":
                self.template = json.loads(body)
            found = [{"index_template": self.template}] if self.template else []
            return web.json_response({"index_templates": found}, status=200 if found else 404, headers=product)
        refused = self.whole(body)
        if refused is not None:
            return web.Response(status=refused[0], text=refused[1])
        lines = body.split(b"\n")
        items = []
        for action, source in zip(lines[::2], lines[1::2], strict=False):
            name = json.loads(action)["create"]["_id"]
            status, kind = self.decide(name, json.loads(source))
            if status == 201:
                self.created.append(json.loads(source)["message"])
            items.append({"create": {"status": status, **({"error": {"type": kind, "reason": "so"}} if kind else {})}})
        return web.json_response({"errors": True, "items": items})

    @asynccontextmanager
    async def running(self) -> AsyncIterator["StandIn"]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield self
        finally:
            await runner.cleanup()


def lines(count: int, size: int = 10) -> list[bytes]:
    return [b"%06d" % number + b"x" * (size - 6) for number in range(count)]


async def test_a_request_too_large_is_cut_until_it_fits_and_the_next_begins_smaller() -> None:
    lane = LogLane()
    limit = StandIn(whole=lambda body: (413, "too large") if len(body) > 20_000 else None)
    async with limit.running() as store, running(section(store.url)) as run:
        assert (await run.deliver(lane.lines(lines(200, 300)))).delivered == 200
        assert sorted(store.created) == sorted(line.decode() for line in lines(200, 300))
        too_large = sum(len(body) > 20_000 for body in store.bulks)
        await run.deliver(lane.lines(lines(200, 300)))
        assert sum(len(body) > 20_000 for body in store.bulks) == too_large


async def test_a_line_that_is_too_large_by_itself_goes_to_the_dead_letters_alone() -> None:
    limit = StandIn(whole=lambda body: (413, "too large") if len(body) > 20_000 else None)
    async with limit.running() as store, running(section(store.url)) as run:
        tally = await run.deliver(LogLane().lines([*lines(20), b"y" * 30_000]))
        assert (tally.delivered, tally.refused) == (20, 1)
    ((piece, refusal),) = run.refused
    assert (piece.items, refusal.status) == (1, 413)


async def test_only_what_is_open_is_sent_again_and_refusals_are_remembered_until_the_end() -> None:
    seen: dict[str, int] = {}

    def decide(name: str, source: dict[str, Any]) -> tuple[int, str]:
        seen[source["message"]] = seen.get(source["message"], 0) + 1
        if source["message"] == "bad":
            return 400, "document_parsing_exception"
        return (429, "es_rejected") if source["message"] == "late" and seen["late"] < 4 else CREATED

    async with StandIn(decide).running() as store, running(section(store.url)) as run:
        tally = await run.deliver(LogLane().lines([b"good", b"late", b"bad"]))
    assert (tally.delivered, tally.refused) == (2, 1)
    assert seen == {"good": 1, "late": 4, "bad": 1}
    assert [type(outcome) for outcome in run.outcomes] == [Retry, Retry, Retry, Partly]


async def test_requests_are_cut_at_their_bound() -> None:
    async with StandIn().running() as store, running(section(store.url, max_request_bytes="64KiB")) as run:
        await run.deliver(LogLane().lines(lines(1000, 300)))
        assert len(store.created) == 1000
        assert all(len(body) <= 2**16 for body in store.bulks)
        assert len(store.bulks) < 20


async def test_a_host_that_is_away_is_passed_over_and_its_requests_go_to_the_others() -> None:
    lane = LogLane()
    away = f"http://127.0.0.1:{free_port()}"
    async with StandIn().running() as store, running(section(away, store.url)) as run:
        for _ in range(6):
            assert isinstance(await run.send(request_of(lane.lines(lines(1)))), Delivered)


async def test_with_every_host_away_nothing_is_lost_and_nothing_raised() -> None:
    hosts = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    async with running(section(*hosts)) as run:
        retry = await run.send(request_of(LogLane().lines(lines(1))))
        assert isinstance(retry, Retry) and not retry.alarm
        assert "127.0.0.1" in retry.reason


async def test_an_answer_that_does_not_come_is_not_waited_for_for_ever() -> None:
    class Slow(StandIn):
        async def answer(self, request: web.Request) -> web.Response:
            await asyncio.Event().wait()
            raise AssertionError

    async with Slow().running() as store, running(section(store.url, timeout="100ms", template=False)) as run:
        retry = await run.send(request_of(LogLane().lines(lines(1))))
        assert isinstance(retry, Retry) and "no answer within 0.1 s" in retry.reason


async def test_credentials_path_and_compression_are_those_of_the_configuration(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("one")
    async with StandIn().running() as store:
        basic = section(store.url + "/proxied/", basic_auth={"username": "u", "password": "p"}, compression="gzip")
        async with running(basic) as run:
            await run.deliver(LogLane().lines(lines(3)))
        path, headers, body = store.requests[-1]
        assert path == "/proxied/_bulk"
        assert headers["Authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
        assert (headers["Content-Type"], headers["Content-Encoding"]) == ("application/x-ndjson", "gzip")
        # The stand-in's server unpacks it, as real ones do.
        assert body.count(b"\n") == 6 and not body.startswith(gzip.compress(b"")[:2])
        async with running(section(store.url, api_key_file=str(key))) as run:
            for wanted in ("one", "another"):
                key.write_text(wanted)
                await run.deliver(LogLane().lines(lines(1)))
                assert store.requests[-1][1]["Authorization"] == f"ApiKey {wanted}"


async def test_a_refused_identity_is_an_alarm_and_no_dead_letter() -> None:
    async with StandIn(whole=lambda body: (401, "who are you")).running() as store, running(section(store.url)) as run:
        retry = await run.send(request_of(LogLane().lines(lines(1))))
        assert isinstance(retry, Retry) and retry.alarm and "who are you" in retry.reason


async def test_a_template_that_cannot_be_put_holds_the_lines_back() -> None:
    class Strict(StandIn):
        async def answer(self, request: web.Request) -> web.Response:
            if request.method == "PUT":
                return web.Response(status=403, text="manage_index_templates is missing")
            return await super().answer(request)

    async with Strict().running() as store:
        async with running(section(store.url)) as run:
            retry = await run.send(request_of(LogLane().lines(lines(1))))
            assert isinstance(retry, Retry) and retry.alarm and "manage_index_templates" in retry.reason
            assert not store.bulks
        async with running(section(store.url, template=False)) as run:
            assert isinstance(await run.send(request_of(LogLane().lines(lines(1)))), Delivered)


async def test_the_template_is_looked_at_once_for_a_new_index_and_not_for_every_request() -> None:
    lane = LogLane()
    async with StandIn().running() as store, running(section(store.url)) as run:
        for _ in range(5):
            await run.deliver(lane.lines(lines(1)))
        next_day = piece_of(lane.lines(lines(1)).payload, 1, created_ms=CREATED_MS + 86_400_000)
        await run.deliver(next_day)
        paths = [path.rpartition("/")[2] for path, _, _ in store.requests]
    name = f"{run.config.index_prefix}-logs"
    assert paths == [name, name, *["_bulk"] * 5, name, "_bulk"]


async def test_what_cannot_be_read_is_refused_and_not_sent() -> None:
    async with StandIn().running() as store, running(section(store.url)) as run:
        assert isinstance(await run.send(request_of(piece_of(snappy.compress(b"\x0a\x7f"), 1))), Rejected)
        assert store.requests == []


async def test_what_is_remembered_of_requests_is_bounded() -> None:
    lane = LogLane()
    busy = StandIn(lambda name, source: (429, "busy"))
    async with busy.running() as store, running(section(store.url)) as run:
        for _ in range(300):
            assert isinstance(await run.send(request_of(lane.lines(lines(1)))), Retry)
        assert len(run.sink._open) <= 256


async def test_a_document_that_is_refused_by_itself_for_minutes_alarms_and_is_never_dropped() -> None:
    clock_s, limit = 1_000.0, 20_000
    pressed = StandIn(
        whole=lambda body: (429, '{"error":{"type":"es_rejected_execution_exception"}}') if len(body) > limit else None
    )
    request = request_of(LogLane().lines([b"small", b"y" * 30_000]))
    async with pressed.running() as store, running(section(store.url)) as run:
        run.sink.clock = lambda: clock_s
        plain = Retry("HTTP 429: es_rejected_execution_exception")
        # The halves first: the small one is taken on the way.
        for _ in range(5):
            assert await run.send(request) == plain
        assert store.created == ["small"]
        clock_s += 299
        assert await run.send(request) == plain
        clock_s += 2
        reasons = set()
        for _ in range(3):
            alarm = await run.send(request)
            assert isinstance(alarm, Retry)
            assert alarm.alarm
            reasons.add(alarm.reason)
            clock_s += 60
        (reason,) = reasons
        assert "one document of 30" in reason
        assert "indexing_pressure.memory.limit" in reason
        assert "max_line_size" in reason
        limit = 100_000
        assert isinstance(await run.send(request), Delivered)
        assert store.created == ["small", "y" * 30_000]


async def test_pressure_on_many_documents_is_no_alarm_however_long() -> None:
    clock_s = 1_000.0
    pressed = StandIn(whole=lambda body: (429, "busy"))
    request = request_of(LogLane().lines(lines(200)))
    async with pressed.running() as store, running(section(store.url)) as run:
        run.sink.clock = lambda: clock_s
        for _ in range(20):
            outcome = await run.send(request)
            assert isinstance(outcome, Retry)
            assert not outcome.alarm
            clock_s += 60


async def test_a_part_that_is_sent_again_has_its_own_memory() -> None:
    whole = LogLane().lines([b"a", b"b"])
    content = loki.encode_stream(b'{cluster="c1", job="j"}', loki.encode_entry(0, b"b"))
    part = Piece(snappy.compress(content), 1, envelope=whole.envelope)
    refuse = True

    def decide(name: str, source: dict[str, Any]) -> tuple[int, str]:
        return (503, "away") if refuse else CREATED

    async with StandIn(decide).running() as store, running(section(store.url)) as run:
        assert isinstance(await run.send(request_of(whole)), Retry)
        refuse = False
        assert isinstance(await run.send(request_of(part)), Delivered)
        assert isinstance(await run.send(request_of(whole)), Delivered)
        assert store.created == ["b", "a", "b"]
