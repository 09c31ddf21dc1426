import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import TransientError
from pipeline.wire import snappy
from pipeline.wire.envelope import LOGS_ENCODING, Origin, Signal, crc32c, from_headers, partition_of
from pipeline.wire.loki import decode
from tests.gateway.logs import TIME_NS, kept_lines, lines, own_line
from tests.gateway.running import TIME_MS, Running, own, running
from tests.gateway.test_push_logs import noise

PUSH = "/loki/api/v1/push"
JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}


def body(*values: Any, **labels: str) -> bytes:
    return json.dumps({"streams": [{"stream": labels, "values": values}]}).encode()


async def push(run: Running, raw: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """POST a protobuf request, given uncompressed."""
    status, text, _ = await run.post(PUSH, snappy.compress(raw), {**PROTOBUF, **(headers or {})})
    return status, text


async def test_a_push_is_acknowledged_with_204_and_is_in_the_log_byte_for_byte(tmp_path: Path) -> None:
    raw = lines("a", "b", cluster="c1") + own_line(1)
    async with running(tmp_path, clusters=[{"name": "c1", "tokens": ["secret-1"], "tenant": "t"}]) as run:
        assert await push(run, raw) == (204, "")
        (record,) = await run.records(Signal.LOGS)
        assert record.payload == snappy.compress(raw)
        envelope = from_headers(record.headers)
        assert (envelope.signal, envelope.encoding) == (Signal.LOGS, LOGS_ENCODING)
        assert (envelope.cluster, envelope.tenant, envelope.agent, envelope.origin) == ("c1", "t", "gw", Origin.FOREIGN)
        assert (envelope.sequence, envelope.items, envelope.lane_items, envelope.parts) == (0, 3, 0, 1)
        assert (envelope.raw_bytes, envelope.earliest_ms, envelope.latest_ms) == (len(raw), TIME_MS, TIME_MS)
        assert envelope.crc32c == crc32c(record.payload)
        assert len(envelope.digest) == 32
        assert record.at.number == partition_of("c1", envelope.lane, 4)
        assert run.metric("pronoia_gateway_received_items_total", cluster="c1", signal="logs") == 3
        assert run.metric("pronoia_gateway_requests_total", protocol="loki_push", outcome="204") == 1
        assert run.metric("pronoia_gateway_in_flight_bytes") == 0


@pytest.mark.parametrize(
    ("encoding", "compress"), [("", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)], ids=lambda of: str(of)
)
async def test_json_is_taken_with_structured_metadata(tmp_path: Path, encoding: str, compress: Any) -> None:
    values = [[str(TIME_NS), "a"], [str(TIME_NS + 1), "b", {"trace_id": "1"}]]
    async with running(tmp_path) as run:
        headers = {**JSON, **({"Content-Encoding": encoding} if encoding else {})}
        assert (await run.post(PUSH, compress(body(*values, job="x")), headers))[0] == 204
        (record,) = await run.records(Signal.LOGS)
        (stream,) = decode(snappy.decompress(record.payload))
        assert stream.labels == '{cluster="c1", job="x"}'
        assert [(one.time_ns, one.line, one.metadata) for one in stream.entries] == [
            (TIME_NS, b"a", ()),
            (TIME_NS + 1, b"b", (("trace_id", "1"),)),
        ]


async def test_the_older_path_takes_older_json(tmp_path: Path) -> None:
    entries = [{"ts": "2026-09-21T14:13:20.000000001Z", "line": "x"}]
    old = json.dumps({"streams": [{"labels": '{a="b"}', "entries": entries}]}).encode()
    async with running(tmp_path) as run:
        assert (await run.post("/api/prom/push", old, JSON))[0] == 204
        assert await kept_lines(run) == [('{a="b", cluster="c1"}', "x")]
        # Without a time of its own nothing can be kept in order.
        assert (await run.post(PUSH, old, JSON))[0] == 400


async def test_streams_of_another_cluster_are_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        status, text = await push(run, own_line(1) + own_line(2, "c2") + lines("x", "y", job="a"))
        assert status == 400
        assert "1 streams (1 entries) refused: they carry another cluster's label, the sender is c1" in text
        assert [line for _, line in await kept_lines(run)] == ["line 1", "x", "y"]
        assert run.metric("pronoia_gateway_refused_items_total", cluster="c1", signal="logs", reason="foreign") == 1
        assert (await push(run, own_line(1, "c2")))[0] == 400
        assert await push(run, own_line(3)) == (204, "")
        assert [envelope.sequence for envelope in await run.envelopes(Signal.LOGS)] == [0, 1]


async def test_another_clusters_label_is_overwritten_where_that_is_configured(tmp_path: Path) -> None:
    async with running(tmp_path, on_foreign_label="overwrite", cluster_label="region") as run:
        assert await push(run, lines("x", region="c2", cluster="c9")) == (204, "")
        assert await kept_lines(run) == [('{cluster="c9", region="c1"}', "x")]


async def test_labels_that_cannot_be_read_cost_their_stream_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        status, text = await push(run, own_line(1) + lines("x", cluster="c1").replace(b'"}', b'"]'))
        assert (status, "they have labels that cannot be read: {cluster=" in text) == (400, True)
        assert [line for _, line in await kept_lines(run)] == ["line 1"]


async def test_without_clusters_a_request_is_taken_apart_by_its_labels(tmp_path: Path) -> None:
    async with running(tmp_path, clusters=None) as run:
        assert await push(run, own_line(1) + own_line(2, "c2") + lines("bare", job="x") + own_line(3)) == (204, "")
        envelopes = await run.envelopes(Signal.LOGS)
        assert {one.cluster: one.items for one in envelopes} == {"c1": 2, "c2": 1, "default": 1}


@pytest.mark.parametrize(
    ("configured", "said", "tenant"), [("", "team-b", "team-b"), ("team-a", "team-b", "team-a"), ("", "", "")]
)
async def test_the_sender_names_its_tenant_where_its_cluster_has_none(
    tmp_path: Path, configured: str, said: str, tenant: str
) -> None:
    async with running(tmp_path, clusters=[{"name": "c1", "tokens": ["secret-1"], "tenant": configured}]) as run:
        assert await push(run, own_line(1), {"X-Scope-OrgID": said} if said else None) == (204, "")
        (envelope,) = await run.envelopes(Signal.LOGS)
        assert (envelope.cluster, envelope.tenant) == ("c1", tenant)


@pytest.mark.parametrize("tenant", ["a|b", "a/b", "..", "x" * 151])
async def test_what_is_no_tenant_is_refused_before_the_body_is_read(tmp_path: Path, tenant: str) -> None:
    async with running(tmp_path) as run:
        status, text = await push(run, own_line(1), {"X-Scope-OrgID": tenant})
        assert (status, "is no tenant" in text) == (400, True)
        # One's tenant says nothing about who one is.
        status, _ = await push(run, own_line(1), {"X-Scope-OrgID": "c1", "Authorization": ""})
        assert status == 401


@pytest.mark.parametrize(
    ("content", "headers", "status", "reason"),
    [
        (b"", JSON, 400, "not JSON"),
        (b"{", JSON, 400, "not JSON"),
        (body([1, "x"]), JSON, 400, "not a push request"),
        (b"no snappy", PROTOBUF, 400, "snappy"),
        (snappy.compress(own(1)), PROTOBUF, 400, "a stream with two label sets at byte"),
        (body(["1", "x"], a="b"), {"Content-Type": "text/plain"}, 400, "snappy"),
        (body(["1", "x"], a="b"), {**JSON, "Content-Encoding": "br"}, 415, "content encoding 'br' is not accepted"),
        (b"no gzip", {**JSON, "Content-Encoding": "gzip"}, 400, "not gzip"),
        (b"x", {"Content-Type": "json"}, 400, "content type 'json' cannot be read"),
        (gzip.compress(b" " * 2_000_000), {**JSON, "Content-Encoding": "gzip"}, 413, "more than 1000000 bytes"),
        (snappy.compress(b"\0" * 2_000_000), PROTOBUF, 413, "2000000 bytes when decompressed"),
    ],
)
async def test_bad_input_is_refused_with_words(
    tmp_path: Path, content: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    async with running(tmp_path, limits={"decompressed": 1_000_000}) as run:
        answered, text, _ = await run.post(PUSH, content, headers)
        assert (answered, reason in text) == (status, True), text
        assert await run.records(Signal.LOGS) == []
        assert run.metric("pronoia_gateway_in_flight_bytes") == 0


@pytest.mark.parametrize("content", [b'{"streams": []}', b"{}", body(a="b")])
async def test_an_empty_push_is_accepted_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    async with running(tmp_path) as run:
        assert (await run.post(PUSH, content, JSON))[:2] == (204, "")
        assert await push(run, b"") == (204, "")
        assert await push(run, lines(cluster="c1")) == (204, "")
        assert await run.records(Signal.LOGS) == []


async def test_lines_of_ten_megabytes_and_times_of_1970_and_2100_are_carried(tmp_path: Path) -> None:
    times = ["0", "1", "-1", "4102444800000000000"]
    async with running(tmp_path) as run:
        content = body(*([time, "x" * 10_000_000 if time == "1" else "y"] for time in times), a="b")
        assert (await run.post(PUSH, io.BytesIO(content), JSON))[:2] == (204, "")
        (record,) = await run.records(Signal.LOGS)
        (stream,) = decode(snappy.decompress(record.payload))
        assert [(str(one.time_ns), len(one.line)) for one in stream.entries] == [
            (time, 10_000_000 if time == "1" else 1) for time in times
        ]
        envelope = from_headers(record.headers)
        assert (envelope.earliest_ms, envelope.latest_ms) == (-1, 4102444800000)


async def test_a_line_larger_than_a_record_is_refused_alone(tmp_path: Path) -> None:
    async with running(tmp_path, log_options={"max_record_bytes": 10_000}) as run:
        status, text = await push(run, lines("before", noise(40_000), "behind", cluster="c1"))
        assert (status, "an entry that is larger than a record" in text) == (400, True)
        assert [line for _, line in await kept_lines(run)] == ["before", "behind"]
        assert await push(run, own_line(1)) == (204, "")
        first, *_, last = await run.envelopes(Signal.LOGS)
        assert (first.sequence, last.sequence, last.lane_items) == (0, 1, 2)


async def test_a_log_that_fails_is_503_and_the_retry_is_recognised_by_its_digest(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert await push(run, own_line(0)) == (204, "")
        run.log.failures.append(TransientError("gone", 3.0))
        status, text, headers = await run.post(PUSH, snappy.compress(own_line(1)), PROTOBUF)
        assert (status, headers["Retry-After"], "the log did not take it: gone" in text) == (503, "3", True)
        assert await push(run, own_line(1)) == (204, "")
        assert await push(run, own_line(1)) == (204, "")
        first, second, third = await run.envelopes(Signal.LOGS)
        assert first.epoch != second.epoch == third.epoch
        assert first.digest != second.digest == third.digest


async def test_entries_and_samples_have_rates_of_their_own(tmp_path: Path) -> None:
    limits = {"entries_per_second": 1, "burst": "1s"}
    async with running(tmp_path, clusters=[{"name": "c1", "tokens": ["secret-1"], "limits": limits}]) as run:
        assert await push(run, lines("a", "b", "c", cluster="c1")) == (204, "")
        status, text = await push(run, own_line(1))
        assert (status, text) == (429, "cluster c1 sends more than 1 entries a second\n")
        assert (await run.write(own(1)))[0] == 204


async def test_a_gateway_that_does_not_take_logs_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, signals=["metrics"]) as run:
        status, text = await push(run, own_line(1))
        assert (status, text) == (404, "this gateway takes metrics, not logs\n")
        assert (await run.write(own(1)))[0] == 204
    async with running(tmp_path / "2", signals=["logs"]) as run:
        assert (await run.write(own(1)))[:2] == (404, "this gateway takes logs, not metrics\n")
        assert await push(run, own_line(1)) == (204, "")
