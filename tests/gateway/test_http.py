import asyncio
import base64
import struct
from pathlib import Path

import aiohttp
import pytest

from pipeline.errors import TransientError
from pipeline.wire import snappy
from pipeline.wire.envelope import METRICS_ENCODING, Origin, Signal, crc32c, from_headers, partition_of
from pipeline.wire.protobuf import encode_bytes, encode_varint
from pipeline.wire.remote_write import decode, encode_labels, encode_metadata, encode_sample, encode_series
from pipeline.wire.remote_write2 import from_v1
from tests.gateway.running import TIME_MS, WRITE, Running, own, running, series, until

V2 = {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request", "Content-Encoding": "snappy"}


async def test_a_write_is_acknowledged_with_204_and_is_in_the_log_byte_for_byte(tmp_path: Path) -> None:
    raw = own(1) + own(2) + encode_metadata(2, "up", "Whether it is.", "")
    async with running(tmp_path, clusters=[{"name": "c1", "tokens": ["secret-1"], "tenant": "t"}]) as run:
        status, text, _ = await run.write(raw)
        assert (status, text) == (204, "")
        (record,) = await run.records()
        assert record.payload == snappy.compress(raw)
        envelope = from_headers(record.headers)
        assert (envelope.signal, envelope.encoding) == (Signal.METRICS, METRICS_ENCODING)
        assert (envelope.cluster, envelope.tenant, envelope.agent, envelope.origin) == ("c1", "t", "gw", Origin.FOREIGN)
        assert (envelope.sequence, envelope.items, envelope.lane_items, envelope.parts) == (0, 2, 0, 1)
        assert (envelope.raw_bytes, envelope.earliest_ms, envelope.latest_ms) == (len(raw), TIME_MS, TIME_MS)
        assert envelope.crc32c == crc32c(record.payload)
        assert len(envelope.digest) == 32
        assert record.at.number == partition_of("c1", envelope.lane, 4)
        assert run.metric("pronoia_gateway_received_items_total", cluster="c1", signal="metrics") == 2
        assert run.metric("pronoia_gateway_in_flight_bytes") == 0


async def test_batches_of_a_foreign_sender_are_numbered_without_gaps(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await asyncio.gather(*(run.write(own(n) * (n + 1)) for n in range(20)))
        envelopes = await run.envelopes()
        assert [envelope.sequence for envelope in envelopes] == list(range(20))
        assert len({(envelope.epoch, envelope.lane) for envelope in envelopes}) == 1
        items = 0
        for envelope in envelopes:
            assert envelope.lane_items == items
            items += envelope.items
        assert items == 210


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer secret-1", 204),
        ("bearer secret-2", 204),
        ("Bearer secret-3", 401),
        ("Bearer ", 401),
        ("", 401),
        ("Digest x", 401),
        ("Basic " + base64.b64encode(b"anybody:secret-1").decode(), 204),
        ("Basic " + base64.b64encode(b"secret-1:").decode(), 401),
        ("Basic !", 401),
    ],
)
async def test_a_write_needs_a_token_that_is_valid_now(tmp_path: Path, authorization: str, status: int) -> None:
    (tmp_path / "tokens").write_text("# the old one, then the new one\nsecret-1\n\n secret-2 \n")
    async with running(tmp_path, clusters=[{"name": "c1", "token_file": str(tmp_path / "tokens")}]) as run:
        found, _, headers = await run.write(own(1), {"Authorization": authorization})
        assert found == status
        assert len(await run.records()) == (status == 204)
        assert ("WWW-Authenticate" in headers) == (status == 401)


async def test_series_of_another_cluster_are_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    raw = own(1) + series(("cluster", "c2"), ("n", "x")) + own(2) + series(("cluster", "c3")) + own(3)
    async with running(tmp_path) as run:
        status, text, _ = await run.write(raw)
        assert status == 400
        assert "2 series (2 samples) refused: they carry another cluster's label, the sender is c1" in text
        assert 'up{cluster="c2", n="x"}' in text
        (record,) = await run.records()
        assert snappy.decompress(record.payload) == own(1) + own(2) + own(3)
        assert from_headers(record.headers).items == 3
        assert run.metric("pronoia_gateway_refused_items_total", cluster="c1", signal="metrics", reason="foreign") == 2
        # Nothing at all is left of the next one, and the numbers go on as if it had not been.
        assert (await run.write(own(1, "c2")))[0] == 400
        assert (await run.write(own(4)))[0] == 204
        assert [envelope.sequence for envelope in await run.envelopes()] == [0, 1]


async def test_another_clusters_label_is_overwritten_where_that_is_configured(tmp_path: Path) -> None:
    async with running(tmp_path, on_foreign_label="overwrite") as run:
        assert (await run.write(own(1, "c2") + own(2)))[0] == 204
        (record,) = await run.records()
        assert snappy.decompress(record.payload) == own(1) + own(2)


async def test_the_label_is_added_at_its_place_where_it_is_missing(tmp_path: Path) -> None:
    bare = series(("a", "1"), ("z", "1"))
    empty = encode_series(
        encode_labels([("__name__", "up"), ("cluster", ""), ("d", "1")])
        + encode_sample(struct.pack("<d", 2.0), TIME_MS)
    )
    async with running(tmp_path, cluster_label="cluster") as run:
        assert (await run.write(bare + empty + own(1)))[0] == 204
        (record,) = await run.records()
        found = [one.labels for one in decode(snappy.decompress(record.payload))]
        assert found == [
            (("__name__", "up"), ("a", "1"), ("cluster", "c1"), ("z", "1")),
            (("__name__", "up"), ("cluster", "c1"), ("d", "1")),
            (("__name__", "up"), ("cluster", "c1"), ("n", "1")),
        ]


async def test_the_labels_name_is_configurable(tmp_path: Path) -> None:
    async with running(tmp_path, cluster_label="region") as run:
        assert (await run.write(series(("region", "c1"), ("cluster", "c9"))))[0] == 204
        assert (await run.write(series(("region", "c2"))))[0] == 400


async def test_series_that_a_store_would_drop_silently_are_refused_aloud(tmp_path: Path) -> None:
    sample = encode_sample(struct.pack("<d", 1.0), TIME_MS)
    twice = encode_series(encode_labels([("__name__", "x"), ("a", "1"), ("a", "2"), ("cluster", "c1")]) + sample)
    nameless = encode_series(encode_labels([("cluster", "c1")]) + sample)
    async with running(tmp_path) as run:
        status, text, _ = await run.write(own(1) + twice + nameless)
        assert status == 400
        assert "have a label twice" in text
        assert "have no metric name" in text
        assert [envelope.items for envelope in await run.envelopes()] == [1]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (snappy.compress(own(1) + b"\x0a\xff\x01x"), f"beyond the end of its message at byte {len(own(1))}"),
        (snappy.compress(b"hello"), "has no field with tag 104 at byte 0"),
        (b"not snappy at all", "snappy"),
        (snappy.compress(own(1))[:-4], "snappy"),
        (b"", "ends inside a varint at byte 0"),
    ],
)
async def test_a_malformed_write_gets_400_with_the_position(tmp_path: Path, body: bytes, reason: str) -> None:
    async with running(tmp_path) as run:
        status, text, _ = await run.post("/api/v1/write", body, WRITE)
        assert status == 400
        assert reason in text
        assert await run.records() == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/x-protobuf"}, 204),
        ({"Content-Type": "application/x-protobuf; proto=prometheus.WriteRequest", "Content-Encoding": "snappy"}, 204),
        ({"Content-Type": "application/x-protobuf;charset=utf-8", "Content-Encoding": "snappy"}, 204),
        ({"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"}, 415),
        ({"Content-Type": "application/json"}, 415),
        ({"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/x-protobuf", "Content-Encoding": "zstd"}, 415),
    ],
)
async def test_content_is_negotiated_as_the_specification_says(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async with running(tmp_path) as run:
        assert (await run.post("/api/v1/write", snappy.compress(own(1)), headers))[0] == status


async def test_other_paths_and_methods_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert (await run.post("/api/v1/read", b""))[0] == 404
        async with run.session.get(run.url("/api/v1/write"), headers=run.headers) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with running(tmp_path, limits={"body": "64KB"}) as run:
        status, text, _ = await run.post("/api/v1/write", b"x" * 70_000, WRITE)
        assert (status, "65536 are allowed" in text) == (413, True)

        async def chunks() -> object:
            for _ in range(70):
                yield b"x" * 1000

        async with run.session.post(run.url("/api/v1/write"), data=chunks(), headers=run.headers | WRITE) as answer:
            assert answer.status == 413


async def test_a_bomb_is_refused_by_what_it_says_it_holds(tmp_path: Path) -> None:
    bomb = encode_varint(3 << 30) + snappy.compress(own(1))
    async with running(tmp_path, limits={"decompressed": "1MB"}) as run:
        status, text, _ = await run.post("/api/v1/write", bomb, WRITE)
        assert status == 413
        assert f"{3 << 30} bytes when decompressed; 1048576 are allowed" in text


async def test_expect_continue_is_answered_only_when_the_body_is_wanted(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert (await run.post("/api/v1/write", snappy.compress(own(1)), WRITE, expect100=True))[0] == 204
        refused = await run.post("/api/v1/write", own(1), {**WRITE, "Authorization": "Bearer no"}, expect100=True)
        assert refused[0] == 401


async def test_when_too_much_waits_for_the_log_a_write_is_told_to_come_again(tmp_path: Path) -> None:
    body = snappy.compress(own(1) * 10 + encode_metadata(1, "x", "h" * 3000, ""))
    async with running(tmp_path, limits={"body": "1KB", "in_flight": "1KB"}) as run:
        run.log.open.clear()
        first = asyncio.create_task(run.post("/api/v1/write", body[:0] + snappy.compress(own(1) * 8), WRITE))
        await until(lambda: _in_flight(run), "the first write holds its bytes")
        status, text, headers = await run.post("/api/v1/write", b"x" * 1000, WRITE)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "bytes wait for the log" in text
        run.log.open.set()
        assert (await first)[0] == 204
        assert (await run.write(own(2)))[0] == 204


async def _in_flight(run: Running) -> bool:
    return run.metric("pronoia_gateway_in_flight_bytes") > 0


async def test_a_clusters_rate_is_held_and_others_are_not_slowed(tmp_path: Path) -> None:
    limits = {"samples_per_second": 10, "burst": "1s"}
    clusters = [{"name": "c1", "tokens": ["secret-1"], "limits": limits}, {"name": "c2", "tokens": ["secret-2"]}]
    async with running(tmp_path, clusters=clusters) as run:
        assert (await run.write(own(1) * 100))[0] == 204
        status, text, headers = await run.write(own(1))
        assert status == 429
        assert "cluster c1 sends more than 10 samples a second" in text
        assert 1 <= int(headers["Retry-After"]) <= 9
        assert (await run.write(own(1, "c2"), {"Authorization": "Bearer secret-2"}))[0] == 204


async def test_a_log_that_fails_is_503_and_the_numbers_begin_anew(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert (await run.write(own(1)))[0] == 204
        run.log.failures.append(TransientError("the broker is gone", 7.0))
        status, text, headers = await run.write(own(2))
        assert (status, headers["Retry-After"]) == (503, "7")
        assert "the log did not take it: the broker is gone" in text
        assert (await run.write(own(2)))[0] == 204
        assert (await run.write(own(3)))[0] == 204
        first, second, third = await run.envelopes()
        assert first.epoch != second.epoch == third.epoch
        assert [second.sequence, third.sequence] == [0, 1]
        assert [second.lane_items, third.lane_items] == [0, 1]


async def test_a_log_that_has_no_place_costs_no_sequence(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.log.refusals.append(TransientError("full"))
        assert (await run.write(own(2)))[0] == 503
        assert (await run.write(own(2)))[0] == 204
        assert [envelope.sequence for envelope in await run.envelopes()] == [0]


async def test_a_sender_that_went_away_unanswered_is_recognised_when_it_comes_again(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.log.open.clear()
        with pytest.raises(TimeoutError):
            await run.post("/api/v1/write", snappy.compress(own(1)), WRITE, timeout=aiohttp.ClientTimeout(total=0.2))
        run.log.open.set()

        async def settled() -> bool:
            return len(await run.records()) == 1 and not await _in_flight(run)

        await until(settled, "the first try is in the log")
        assert (await run.write(own(1)))[0] == 204
        first, again = await run.envelopes()
        assert first.digest == again.digest
        assert first.epoch != again.epoch


async def test_draining_answers_what_was_begun_and_refuses_what_comes(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.log.open.clear()
        begun = asyncio.create_task(run.write(own(1)))
        await until(lambda: _in_flight(run), "the write is taken")
        draining = asyncio.create_task(run.gateway.drain())
        await asyncio.sleep(0)
        run.log.open.set()
        assert (await begun)[0] == 204
        await draining
        with pytest.raises(aiohttp.ClientConnectionError):
            await run.write(own(2))


async def test_the_same_bytes_have_the_same_digest_for_one_cluster_only(tmp_path: Path) -> None:
    async with running(tmp_path, clusters=None) as run:
        for cluster in ("c1", "c1", "c2"):
            assert (await run.write(own(1, cluster)))[0] == 204
        digests = {(envelope.cluster, envelope.digest) for envelope in await run.envelopes()}
        assert len(digests) == 2


async def test_without_clusters_a_request_is_taken_apart_by_its_labels(tmp_path: Path) -> None:
    raw = own(1, "a") + own(2, "b") + series(("n", "3")) + own(4, "a")
    async with running(tmp_path, clusters=None, default_cluster="here") as run:
        assert (await run.write(raw))[0] == 204
        records = {from_headers(record.headers).cluster: record for record in await run.records()}
        assert {name: snappy.decompress(record.payload) for name, record in records.items()} == {
            "a": own(1, "a") + own(4, "a"),
            "b": own(2, "b"),
            "here": series(("cluster", "here"), ("n", "3")),
        }
        whole = own(1, "a") + own(2, "a")
        assert (await run.write(whole))[0] == 204
        assert snappy.compress(whole) in [record.payload for record in await run.records()]


async def test_what_is_larger_than_a_record_is_split_at_series(tmp_path: Path) -> None:
    raw = b"".join(series(("cluster", "c1"), ("n", f"{n:x}-{n * 7919:x}-{n * 104729:x}")) for n in range(2000))
    async with running(tmp_path, log_options={"max_record_bytes": 10_000}) as run:
        assert (await run.write(raw))[0] == 204
        records = await run.records()
        envelopes = [from_headers(record.headers) for record in records]
        assert len(envelopes) > 3
        assert [envelope.part for envelope in envelopes] == list(range(len(envelopes)))
        assert {(envelope.parts, envelope.sequence) for envelope in envelopes} == {(len(envelopes), 0)}
        assert b"".join(snappy.decompress(record.payload) for record in records) == raw
        first_item = 0
        for envelope in envelopes:
            assert envelope.first_item == first_item
            first_item += envelope.items
        assert first_item == 2000
        assert len({envelope.digest for envelope in envelopes}) == len(envelopes)
        assert (await run.write(own(1)))[0] == 204
        assert (await run.envelopes())[-1].lane_items == 2000


async def test_a_series_larger_than_a_record_is_refused(tmp_path: Path) -> None:
    huge = b"".join(encode_sample(struct.pack("<d", n * 1.1), TIME_MS + n * n) for n in range(3000))
    raw = encode_series(encode_labels([("__name__", "up"), ("cluster", "c1")]) + huge)
    async with running(tmp_path, log_options={"max_record_bytes": 10_000}) as run:
        status, text, _ = await run.write(raw)
        assert status == 413
        assert "larger than a record" in text


async def test_a_large_request_is_judged_like_a_small_one(tmp_path: Path) -> None:
    raw = b"".join(series(("cluster", "c1"), ("n", str(n)), ("pad", "x" * 300)) for n in range(8000))
    async with running(tmp_path) as run:
        assert (await run.write(raw))[0] == 204
        assert (await run.write(raw + own(1, "c2")))[0] == 400
        assert [envelope.items for envelope in await run.envelopes()] == [8000, 8000]


async def test_remote_write_2_is_kept_as_1_and_told_what_was_written(tmp_path: Path) -> None:
    histogram = encode_bytes(0x22, b"\x08\x05\x78" + encode_varint(TIME_MS))
    exemplar = encode_bytes(0x1A, encode_labels([("trace_id", "abc")]) + b"\x11" + struct.pack("<d", 0.5))
    labels = encode_labels([("__name__", "h"), ("cluster", "c1")])
    v1 = own(1) + encode_series(labels + histogram + exemplar) + encode_metadata(3, "h", "A histogram.", "seconds")
    async with running(tmp_path) as run:
        status, _, headers = await run.post("/api/v1/write", snappy.compress(from_v1(v1)), V2)
        assert status == 204
        assert headers["X-Prometheus-Remote-Write-Samples-Written"] == "1"
        assert headers["X-Prometheus-Remote-Write-Histograms-Written"] == "1"
        assert headers["X-Prometheus-Remote-Write-Exemplars-Written"] == "1"
        (record,) = await run.records()
        assert snappy.decompress(record.payload) == v1
        assert from_headers(record.headers).items == 2


async def test_a_partial_write_of_remote_write_2_counts_what_was_written(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        body = snappy.compress(from_v1(own(1) + own(2, "c2")))
        status, text, headers = await run.post("/api/v1/write", body, V2)
        assert status == 400
        assert "another cluster" in text
        assert headers["X-Prometheus-Remote-Write-Samples-Written"] == "1"
        status, text, headers = await run.post("/api/v1/write", snappy.compress(b"\x2a\x02\x0a\x07"), V2)
        assert status == 400
        assert headers["X-Prometheus-Remote-Write-Samples-Written"] == "0"


async def test_remote_write_1_is_not_told_what_was_written(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        _, _, headers = await run.write(own(1))
        assert not [name for name in headers if "Written" in name]


async def test_clymenes_call_needs_no_headers_and_gets_204(tmp_path: Path) -> None:
    async with running(tmp_path, clusters=None) as run:
        run.headers.clear()
        assert (await run.post("/api/metrics", snappy.compress(own(1))))[0] == 204
        assert (await run.post("/api/metrics", b"\xff"))[0] == 400
        assert [envelope.cluster for envelope in await run.envelopes()] == ["c1"]


async def test_an_empty_write_is_accepted_and_leaves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        assert (await run.write(b""))[0] == 204
        assert await run.records() == []
